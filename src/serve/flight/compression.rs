//! Bodies of messages, compressed if the call asks for it.
//!
//! Never by default: on a fast network both sides would only wait for the codec, and no client needs it.

use arrow::ipc::CompressionType;

use crate::error::{Error, Result};

/// How the buffers of a message are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Compression {
    /// As they are.
    #[default]
    None,
    /// LZ4 frames: half a GB/s and more, for networks of a gigabit.
    Lz4,
    /// Zstandard: smaller, at a tenth of that, for networks slower still.
    Zstd,
}

impl Compression {
    const ALL: [Self; 3] = [Self::None, Self::Lz4, Self::Zstd];

    /// Its name in headers and tickets.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for a name that is none of the three.
    pub(super) fn parse(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|compression| compression.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                Error::invalid(format!(
                    "compression \"{text}\" is unknown: bodies are compressed with lz4, zstd or none"
                ))
            })
    }

    /// As Arrow's messages name it.
    pub(super) fn codec(self) -> Option<CompressionType> {
        match self {
            Self::None => None,
            Self::Lz4 => Some(CompressionType::LZ4_FRAME),
            Self::Zstd => Some(CompressionType::ZSTD),
        }
    }
}
