//! How the batches of a topic, and those of a producer, are compressed.
//!
//! A topic that names a codec stores every batch with it; one that leaves it to producers, the
//! default, stores what they made. A batch is compressed once: with the topic's codec where it
//! names one, at the level of whoever chose it. Levels never make a batch be compressed again.
//! Which codecs are built in is not looked at here: a configuration outlives the program that
//! wrote it. Read by `record::pack` through [`Packing`].

use std::fmt;
use std::str::FromStr;

use super::topic::TopicConfig;
use super::words::refuse;
use crate::error::Error;

/// A codec, or the word that none is chosen here; Kafka's `compression.type`.
///
/// Each codec is a feature of this crate: `gzip`, `snappy`, `lz4`, `zstd`. Without it a batch is
/// neither written nor read with the codec: [`ErrorKind::Unsupported`](crate::ErrorKind).
///
/// ```
/// use tidelog::Compression;
/// assert_eq!(Compression::Zstd.to_string(), "zstd");
/// assert_eq!("uncompressed".parse::<Compression>()?, Compression::None);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// What the producer makes of it. For a producer: what the topic makes of it.
    #[default]
    Producer,
    /// Not compressed.
    None,
    /// Small and slow; read by everybody.
    Gzip,
    /// Fast; has no levels.
    Snappy,
    /// The fastest. Kafka's levels are taken and mean one thing here, the fast compressor.
    Lz4,
    /// Small and fast; its feature builds the C library, and so needs a C compiler.
    Zstd,
}

const KINDS: &str = "producer, uncompressed, none, gzip, snappy, lz4 or zstd";

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::Producer => "producer",
            Compression::None => "uncompressed",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        })
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "producer" => Ok(Compression::Producer),
            "uncompressed" | "none" => Ok(Compression::None),
            "gzip" => Ok(Compression::Gzip),
            "snappy" => Ok(Compression::Snappy),
            "lz4" => Ok(Compression::Lz4),
            "zstd" => Ok(Compression::Zstd),
            _ => Err(refuse("compression.type", text, KINDS)),
        }
    }
}

impl Compression {
    /// Fails where the codec has no such level.
    pub(crate) fn check_level(self, key: &str, level: i32) -> Result<(), Error> {
        let (allowed, legal) = match self {
            Compression::Gzip => {
                ("-1 for the default, 6, or 1 to 9", level == -1 || (1..=9).contains(&level))
            }
            Compression::Lz4 => ("1 to 17", (1..=17).contains(&level)),
            Compression::Zstd => ("-131072 to 22", (-131_072..=22).contains(&level)),
            _ => ("none: it has no levels", false),
        };
        if legal { Ok(()) } else { Err(refuse(key, &level.to_string(), allowed)) }
    }
}

/// A topic's word on compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicCompression {
    pub(super) kind: Compression,
    pub(super) gzip_level: i32,
    pub(super) lz4_level: i32,
    pub(super) zstd_level: i32,
}

impl Default for TopicCompression {
    fn default() -> Self {
        let kind = Compression::Producer;
        TopicCompression { kind, gzip_level: -1, lz4_level: 9, zstd_level: 3 }
    }
}

/// All kinds, in the order of their numbers in [`TopicCompression::to_bits`].
const ALL: [Compression; 6] = [
    Compression::Producer,
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

impl TopicCompression {
    /// All of it as one number: a byte each for the kind and the levels of gzip and lz4, which
    /// are no longer, and four for that of zstd. The fourth stays free, for `log::rules`.
    pub(crate) fn to_bits(self) -> u64 {
        let [z0, z1, z2, z3] = self.zstd_level.to_le_bytes();
        let kind = ALL.iter().position(|kind| *kind == self.kind).unwrap_or(0);
        let byte = |number: i64| number.to_le_bytes()[0];
        let (gzip, lz4) = (byte(self.gzip_level.into()), byte(self.lz4_level.into()));
        u64::from_le_bytes([byte(kind as i64), gzip, lz4, 0, z0, z1, z2, z3])
    }

    /// What [`to_bits`](TopicCompression::to_bits) made a number of.
    #[inline(always)] // see `producer::walk`
    pub(crate) fn from_bits(bits: u64) -> Self {
        let [kind, gzip, lz4, _, zstd @ ..] = bits.to_le_bytes();
        TopicCompression {
            kind: ALL.get(usize::from(kind)).copied().unwrap_or_default(),
            gzip_level: i32::from(gzip.cast_signed()),
            lz4_level: i32::from(lz4.cast_signed()),
            zstd_level: i32::from_le_bytes(zstd),
        }
    }

    pub(crate) fn kind(&self) -> Compression {
        self.kind
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        Compression::Gzip.check_level("compression.gzip.level", self.gzip_level)?;
        Compression::Lz4.check_level("compression.lz4.level", self.lz4_level)?;
        Compression::Zstd.check_level("compression.zstd.level", self.zstd_level)
    }
}

/// What becomes of a batch on its way into a topic: the topic's word and its producer's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packing {
    topic: TopicCompression,
    own: Compression,
    own_level: Option<i32>,
}

impl Packing {
    #[inline(always)] // see `producer::walk`
    pub(crate) fn of_topic(topic: TopicCompression) -> Self {
        Packing { topic, own: Compression::Producer, own_level: None }
    }

    /// The same with the word of a producer.
    #[must_use]
    #[inline(always)] // see `producer::walk`
    pub(crate) fn by(self, own: Compression, own_level: Option<i32>) -> Self {
        Packing { own, own_level, ..self }
    }

    /// Whether a batch is stored as it is. What every batch is asked; nothing else need be then.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.codec() == Compression::None
    }

    /// The codec; never `Producer`.
    #[inline]
    pub(crate) fn codec(&self) -> Compression {
        match (self.topic.kind, self.own) {
            (Compression::Producer, Compression::Producer) => Compression::None,
            (Compression::Producer, own) => own,
            (topic, _) => topic,
        }
    }

    /// The level; `None` for the codec's default.
    pub(crate) fn level(&self) -> Option<i32> {
        let codec = self.codec();
        if codec == self.own && self.own_level.is_some() {
            return self.own_level.filter(|level| *level != -1 || codec != Compression::Gzip);
        }
        match codec {
            Compression::Gzip => Some(self.topic.gzip_level).filter(|level| *level != -1),
            Compression::Lz4 => Some(self.topic.lz4_level),
            Compression::Zstd => Some(self.topic.zstd_level),
            _ => None,
        }
    }
}

/// Compression. Ranges are checked when the configuration is used.
impl TopicConfig {
    /// How the topic's batches are compressed; default [`Compression::Producer`], as their
    /// producers made them. A topic that names a codec compresses what comes otherwise; one that
    /// says [`Compression::None`] stores all as it is. Records appended before stay as they are.
    ///
    /// ```
    /// use tidelog::{Compression, TopicConfig};
    /// let config = TopicConfig::new().compression(Compression::Lz4);
    /// assert_eq!(config.get("compression.type").as_deref(), Some("lz4"));
    /// ```
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression.kind = compression;
        self
    }

    /// The level for gzip, where the topic's word decides; 1 to 9, default -1, which is 6.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new().gzip_level(9);
    /// assert_eq!(config.get("compression.gzip.level").as_deref(), Some("9"));
    /// ```
    #[must_use]
    pub fn gzip_level(mut self, level: i32) -> Self {
        self.compression.gzip_level = level;
        self
    }

    /// The level for lz4; 1 to 17, default 9. Kept for Kafka: here all mean the fast compressor.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new().lz4_level(12);
    /// assert_eq!(config.get("compression.lz4.level").as_deref(), Some("12"));
    /// ```
    #[must_use]
    pub fn lz4_level(mut self, level: i32) -> Self {
        self.compression.lz4_level = level;
        self
    }

    /// The level for zstd, where the topic's word decides; -131,072 to 22, default 3.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new().zstd_level(19);
    /// assert_eq!(config.get("compression.zstd.level").as_deref(), Some("19"));
    /// ```
    #[must_use]
    pub fn zstd_level(mut self, level: i32) -> Self {
        self.compression.zstd_level = level;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topics_codec_wins_and_the_choosers_level_is_used() {
        use Compression::{Gzip, None as Plain, Producer, Snappy, Zstd};
        let topic = |kind| TopicCompression { kind, zstd_level: 7, ..TopicCompression::default() };
        for (kind, own, own_level, codec, level) in [
            (Producer, Producer, None, Plain, None),
            (Producer, Gzip, None, Gzip, None),
            (Producer, Gzip, Some(-1), Gzip, None),
            (Producer, Zstd, Some(-1), Zstd, Some(-1)),
            (Producer, Plain, None, Plain, None),
            (Plain, Gzip, Some(9), Plain, None),
            (Zstd, Producer, None, Zstd, Some(7)),
            (Zstd, Gzip, Some(9), Zstd, Some(7)),
            (Zstd, Zstd, Some(1), Zstd, Some(1)),
            (Snappy, Zstd, Some(1), Snappy, None),
        ] {
            let packing = Packing::of_topic(topic(kind)).by(own, own_level);
            assert_eq!((packing.codec(), packing.level()), (codec, level), "{kind} {own}");
            assert_eq!(packing.is_plain(), codec == Plain);
        }
    }

    #[test]
    fn a_number_holds_all_of_it() {
        for kind in ALL {
            for (gzip_level, lz4_level, zstd_level) in [(-1, 1, -131_072), (9, 17, 22), (1, 9, 0)] {
                let topic = TopicCompression { kind, gzip_level, lz4_level, zstd_level };
                assert_eq!(TopicCompression::from_bits(topic.to_bits()), topic);
            }
        }
    }

    #[test]
    fn levels_a_codec_does_not_have_are_refused() {
        for (key, value) in [
            ("compression.gzip.level", "0"),
            ("compression.gzip.level", "10"),
            ("compression.lz4.level", "0"),
            ("compression.lz4.level", "18"),
            ("compression.zstd.level", "23"),
            ("compression.zstd.level", "-131073"),
            ("compression.type", "brotli"),
        ] {
            let error = TopicConfig::new().set(key, value).unwrap_err();
            assert_eq!(error.kind(), crate::error::ErrorKind::InvalidConfig, "{key}={value}");
        }
        for kind in ["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"] {
            let config = TopicConfig::new().set("compression.type", kind).unwrap();
            assert_eq!(config.get("compression.type").as_deref(), Some(kind));
        }
        assert!(Compression::Snappy.check_level("level", 1).is_err());
    }
}
