//! What the location of a store names: memory, a bucket, or a directory.

use std::path::PathBuf;

use crate::error::{Error, Result};

#[derive(Debug, PartialEq)]
pub(super) enum Location {
    Memory,
    /// The prefix has no slash at either end, and may be empty.
    Bucket {
        name: String,
        prefix: String,
    },
    Directory(PathBuf),
}

impl Location {
    /// A path may hold a colon, but not after something that looks like a scheme: `./a:b`, not `ab:c`. So a typing error in
    /// a URL never makes a directory.
    pub(super) fn parse(text: &str) -> Result<Self> {
        match text.split_once(':') {
            _ if text.is_empty() => Err(Error::invalid("the location of the store is empty")),
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("s3", rest)) => Self::bucket(text, rest),
            Some(("file", rest)) => Self::file(text, rest),
            Some((scheme, _)) if is_scheme(scheme) => Err(Error::unsupported(format!(
                "{text:?} names a kind of store that is not supported: use memory:, s3://bucket/prefix or a directory"
            ))),
            _ => Ok(Self::Directory(text.into())),
        }
    }

    fn bucket(text: &str, rest: &str) -> Result<Self> {
        let path = rest.strip_prefix("//").unwrap_or_default();
        let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
        let in_a_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if name.is_empty() || !name.chars().all(in_a_name) {
            return Err(Error::invalid(format!(
                "{text:?} names no bucket: write s3://bucket or s3://bucket/prefix"
            )));
        }
        Ok(Self::Bucket {
            name: name.into(),
            prefix: prefix.trim_matches('/').into(),
        })
    }

    /// The path is taken as it is: nothing in it is percent-decoded.
    fn file(text: &str, rest: &str) -> Result<Self> {
        match rest.strip_prefix("//") {
            Some(path) if path.starts_with('/') => Ok(Self::Directory(path.into())),
            _ => Err(Error::invalid(format!(
                "{text:?} names no directory of this machine: write file:///path or just the path"
            ))),
        }
    }
}

/// One letter is a Windows drive.
fn is_scheme(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn bucket(name: &str, prefix: &str) -> Location {
        Location::Bucket {
            name: name.into(),
            prefix: prefix.into(),
        }
    }

    #[test]
    fn locations_name_memory_buckets_and_directories() {
        let directory = |path: &str| Location::Directory(path.into());
        for (text, location) in [
            ("memory:", Location::Memory),
            ("s3://b", bucket("b", "")),
            ("s3://b/", bucket("b", "")),
            ("s3://my.b-1/some/where/", bucket("my.b-1", "some/where")),
            ("file:///var/lib", directory("/var/lib")),
            ("/var/lib", directory("/var/lib")),
            ("here", directory("here")),
            ("./a:b", directory("./a:b")),
        ] {
            assert_eq!(Location::parse(text).unwrap(), location, "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for (text, kind) in [
            ("", ErrorKind::Invalid),
            ("s3://", ErrorKind::Invalid),
            ("s3:bucket", ErrorKind::Invalid),
            ("s3://user@bucket/x", ErrorKind::Invalid),
            ("file:here", ErrorKind::Invalid),
            ("file://elsewhere/x", ErrorKind::Invalid),
            ("memory:x", ErrorKind::Unsupported),
            ("gs://bucket/x", ErrorKind::Unsupported),
            ("http://host/x", ErrorKind::Unsupported),
        ] {
            assert_eq!(Location::parse(text).unwrap_err().kind(), kind, "{text}");
        }
    }
}
