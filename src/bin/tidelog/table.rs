//! Tables for people, and a bar that shows how far long work is.
//!
//! A table is as wide as what is in it; numbers stand to the right. The bar goes to standard error
//! and only where that is a terminal, so that what is piped on is never mixed with it.
//!
//! Called by every command that lists or reads a lot.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressStyle};

use super::failure::Failure;
use super::json::print;

/// Which side of its column a cell keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Rows under headings.
#[derive(Debug)]
pub(super) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &[(&str, Side)]) -> Self {
        let headings = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
        Table { sides: columns.iter().map(|(_, side)| *side).collect(), rows: vec![headings] }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn text(&self) -> String {
        let width = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let columns = row.iter().zip(&widths).zip(&self.sides);
            let cells = columns.map(|((cell, width), side)| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            });
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    pub(super) fn print(&self) -> Result<(), Failure> {
        print(self.text().as_bytes())
    }
}

/// A number, or a dash where there is none.
pub(super) fn or_dash(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// How far long work is.
#[derive(Clone, Debug)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Begins at nothing; `what` is shown in front.
    pub(super) fn new(what: &'static str) -> Self {
        if !io::stderr().is_terminal() {
            return Bar::hidden();
        }
        let bar = ProgressBar::new(0).with_prefix(what);
        let style = "{prefix} {wide_bar} {bytes}/{total_bytes} {eta}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Bar(bar)
    }

    /// One that is never shown.
    pub(super) fn hidden() -> Self {
        Bar(ProgressBar::hidden())
    }

    pub(super) fn at(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// Takes it off the screen.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
