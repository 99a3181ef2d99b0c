//! A pattern for topic names, as a subscriber writes it.
//!
//! It must match a whole name. The crate behind it matches in linear time, so a pattern from
//! outside cannot make a rebalance slow; what it cannot compile is refused with its reason.
//!
//! Made by `consumer`; asked by the membership's interests.

use regex_lite::Regex;

use super::membership::NamePattern;
use crate::error::{Cause, Error, Result};

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct TopicPattern {
    text: String,
    whole: Regex,
}

impl TopicPattern {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refused = |error: regex_lite::Error| {
            let shown: String = text.chars().take(64).collect();
            let text = format!("`{shown}` is not a pattern for topic names: {error}");
            Error::new("subscribe", Cause::InvalidArgument(text))
        };
        Regex::new(text).map_err(refused)?; // alone first: else `a)|(b` would reach around it
        let whole = Regex::new(&format!("^(?:{text})$")).map_err(refused)?;
        Ok(TopicPattern { text: text.to_owned(), whole })
    }
}

impl NamePattern for TopicPattern {
    fn text(&self) -> &str {
        &self.text
    }

    fn matches(&self, name: &str) -> bool {
        self.whole.is_match(name)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn matches(pattern: &str, name: &str) -> bool {
        TopicPattern::parse(pattern).unwrap().matches(name)
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        assert!(matches("orders.*", "orders-eu"));
        assert!(!matches("orders", "orders-eu"));
        assert!(!matches("eu", "orders-eu"));
        assert!(matches("a|ab", "ab")); // the longer way round is found
        assert!(!matches("a|b", "ab"));
        assert!(matches("(?i)ORDERS", "orders"));
        assert!(!matches("(?m)^orders$", "orders\nx"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for wrong in ["(", "a)|(b", "[z-a]", "x{9999999}", "*", "\\p{Greek}"] {
            let error = TopicPattern::parse(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{wrong}: {error}");
        }
        assert!(TopicPattern::parse("").unwrap().matches("")); // legal, and of no topic
    }
}
