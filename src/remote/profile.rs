//! Which BTrDB, and which key: from arguments, the environment, and the file of profiles that BTrDB's users keep.
//!
//! The same places in the same order as `btrdb.connect` of the Python client:
//!
//! 1. a profile that was named, and nothing else;
//! 2. otherwise the profile `$BTRDB_PROFILE`, or `default`, if there is a file of profiles;
//! 3. over it `$BTRDB_ENDPOINTS` and `$BTRDB_API_KEY`;
//! 4. over these the arguments.

use std::collections::BTreeMap;
use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::settings::Settings;
use crate::error::{Error, Result};

/// The file of profiles, in a user's home.
const FILE: &str = ".predictivegrid/credentials.yaml";

/// The profile taken where none is named.
const DEFAULT: &str = "default";

/// What was asked for by arguments; all of it may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// `HOST:PORT`.
    pub endpoint: Option<&'a str>,
    /// The key, whatever a profile says.
    pub api_key: Option<&'a str>,
    /// The name of a profile.
    pub profile: Option<&'a str>,
}

/// What of it is known so far.
#[derive(Default)]
struct Known {
    endpoint: Option<String>,
    api_key: Option<String>,
}

impl Known {
    fn overlay(&mut self, endpoint: Option<String>, api_key: Option<String>) {
        self.endpoint = endpoint.or(self.endpoint.take());
        self.api_key = api_key.or(self.api_key.take());
    }
}

/// Settings for what was asked for, with the defaults for all else. `environment` answers a variable's value, `home` is the
/// user's folder.
///
/// An empty variable counts as none. Certificates to trust are those of `$BTRDB_CA_BUNDLE`, if it is set.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for both an address and a profile, for a profile that is not in the
/// file, for a file that cannot be read, and if nothing names an address.
pub fn resolve(
    asked: Asked<'_>,
    environment: impl Fn(&str) -> Option<String>,
    home: Option<&Path>,
) -> Result<Settings> {
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
    let file = home.map(|home| home.join(FILE));
    let mut known = Known::default();
    match asked.profile {
        Some(_) if asked.endpoint.is_some() => {
            return Err(Error::invalid(
                "both an address and a profile are given: a profile names its own address",
            ));
        }
        Some(name) => {
            let file =
                file.ok_or_else(|| Error::invalid("there is no home folder to find profiles in"))?;
            let Some(text) = read(&file)? else {
                return Err(Error::invalid(format!("could not find {}", file.display())));
            };
            known = profile(&text, name, &file)?;
        }
        None => {
            let text = file.as_deref().map(read).transpose()?.flatten();
            if let (Some(file), Some(text)) = (&file, text) {
                let name = variable("BTRDB_PROFILE");
                known = profile(&text, name.as_deref().unwrap_or(DEFAULT), file)?;
            }
            known.overlay(variable("BTRDB_ENDPOINTS"), variable("BTRDB_API_KEY"));
        }
    }
    known.overlay(
        asked.endpoint.map(str::to_owned),
        asked.api_key.map(str::to_owned),
    );
    let endpoint = known.endpoint.ok_or_else(|| {
        Error::invalid("could not determine credentials to use: give an address, a profile, or set BTRDB_ENDPOINTS")
    })?;
    Ok(Settings {
        api_key: known.api_key,
        ca_file: variable("BTRDB_CA_BUNDLE").map(PathBuf::from),
        ..Settings::new(endpoint)
    })
}

/// The text of a file; none if there is no such file.
fn read(file: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(Error::invalid(format!("{} cannot be read", file.display())).with_source(error))
        }
    }
}

/// The profile `name` of a file. That there is no default is no error.
fn profile(text: &str, name: &str, file: &Path) -> Result<Known> {
    // What the parser says may quote the file, and with it a key.
    let profiles: BTreeMap<String, Value> = match serde_saphyr::from_str(text) {
        Ok(profiles) => profiles,
        Err(_) if text.trim().is_empty() => BTreeMap::new(),
        Err(_) => {
            return Err(Error::invalid(format!(
                "{} is not YAML with one block for each profile",
                file.display()
            )));
        }
    };
    let Some(profile) = profiles.get(name) else {
        return match name {
            DEFAULT => Ok(Known::default()),
            _ => Err(Error::invalid(format!(
                "profile \"{name}\" not found in {}",
                file.display()
            ))),
        };
    };
    let property = |key: &str| match profile.get("btrdb").and_then(|btrdb| btrdb.get(key)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Error::invalid(format!(
            "{key} of profile \"{name}\" in {} is no text: put it in quotes",
            file.display()
        ))),
    };
    let api_key = match property("api_key")? {
        None => property("apikey")?,
        key => key,
    };
    Ok(Known {
        endpoint: property("endpoints")?,
        api_key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: &str = r#"
research:
  name: "research"
  btrdb:
    endpoints: "research.example.com:4411"
    api_key: "d976a2d6"
default:
  name: "default"
  btrdb:
    endpoints: "btrdb.example.com:4411"
    api_key: "e666a2d6"
bare:
  name: "bare"
numeric:
  btrdb:
    endpoints: "n:1"
    api_key: 12345
"#;

    struct Home(tempfile::TempDir);

    impl Home {
        fn with(text: Option<&str>) -> Self {
            let folder = tempfile::tempdir().expect("a scratch folder");
            if let Some(text) = text {
                let file = folder.path().join(FILE);
                std::fs::create_dir(file.parent().expect("a folder")).expect("created");
                std::fs::write(file, text).expect("written");
            }
            Self(folder)
        }

        fn resolve(
            &self,
            asked: Asked<'_>,
            variables: &[(&str, &str)],
        ) -> Result<(String, Option<String>)> {
            let environment = |name: &str| {
                let found = variables.iter().find(|(other, _)| *other == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let settings = resolve(asked, environment, Some(self.0.path()))?;
            Ok((settings.endpoint, settings.api_key))
        }
    }

    fn found(endpoint: &str, key: &str) -> (String, Option<String>) {
        (
            endpoint.to_owned(),
            (!key.is_empty()).then(|| key.to_owned()),
        )
    }

    #[test]
    fn a_named_profile_is_all_there_is() {
        let home = Home::with(Some(PROFILES));
        let asked = Asked {
            profile: Some("research"),
            ..Asked::default()
        };
        let variables = [("BTRDB_ENDPOINTS", "env:1"), ("BTRDB_API_KEY", "k")];
        assert_eq!(
            home.resolve(asked, &variables).expect("resolved"),
            found("research.example.com:4411", "d976a2d6")
        );
        let both = Asked {
            endpoint: Some("h:1"),
            ..asked
        };
        home.resolve(both, &[])
            .expect_err("an address and a profile");
        for name in ["nobody", "bare", "numeric"] {
            let asked = Asked {
                profile: Some(name),
                ..Asked::default()
            };
            let error = home.resolve(asked, &variables).expect_err(name);
            assert!(!error.to_string().contains("12345"), "{error}");
        }
        let error = Home::with(None).resolve(asked, &[]).expect_err("no file");
        assert!(error.message().contains("could not find"), "{error}");
    }

    #[test]
    fn arguments_go_over_variables_and_these_over_the_profile() {
        let home = Home::with(Some(PROFILES));
        let nothing = Asked::default();
        assert_eq!(
            home.resolve(nothing, &[]).expect("the default"),
            found("btrdb.example.com:4411", "e666a2d6")
        );
        assert_eq!(
            home.resolve(nothing, &[("BTRDB_PROFILE", "research")])
                .expect("the profile of the environment"),
            found("research.example.com:4411", "d976a2d6")
        );
        assert_eq!(
            home.resolve(
                nothing,
                &[("BTRDB_ENDPOINTS", "env:1"), ("BTRDB_API_KEY", "")]
            )
            .expect("an address over the default"),
            found("env:1", "e666a2d6")
        );
        let asked = Asked {
            endpoint: Some("arg:1"),
            api_key: Some("mine"),
            profile: None,
        };
        assert_eq!(
            home.resolve(
                asked,
                &[("BTRDB_ENDPOINTS", "env:1"), ("BTRDB_API_KEY", "k")]
            )
            .expect("arguments"),
            found("arg:1", "mine")
        );
        home.resolve(nothing, &[("BTRDB_PROFILE", "nobody")])
            .expect_err("a profile that is not there");
    }

    #[test]
    fn without_a_file_there_are_variables_and_arguments() {
        for home in [
            Home::with(None),
            Home::with(Some("")),
            Home::with(Some("other: {}")),
        ] {
            let error = home.resolve(Asked::default(), &[]).expect_err("nothing");
            assert!(
                error
                    .message()
                    .starts_with("could not determine credentials to use"),
                "{error}"
            );
            assert_eq!(
                home.resolve(Asked::default(), &[("BTRDB_ENDPOINTS", "env:1")])
                    .expect("resolved"),
                found("env:1", "")
            );
        }
        let broken = Home::with(Some("a: [\n  api_key: s3cret"));
        let error = broken.resolve(Asked::default(), &[]).expect_err("no YAML");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }

    #[test]
    fn the_bundle_of_certificates_comes_from_the_environment() {
        let environment = |name: &str| match name {
            "BTRDB_ENDPOINTS" => Some("h:4411".to_owned()),
            "BTRDB_CA_BUNDLE" => Some("/etc/ca.pem".to_owned()),
            _ => None,
        };
        let settings = resolve(Asked::default(), environment, None).expect("resolved");
        assert_eq!(settings.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
    }
}
