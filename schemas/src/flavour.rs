//! The two families of servers that Millrace operates. Everything that differs between them is decided by this value and,
//! for statements and variables, by `mysql/src/flavour`; nothing else may compare version strings.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which family a server belongs to. Percona Server and other builds of MySQL count as [`Flavour::MySql`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Flavour {
    /// MySQL and what is built from its sources.
    #[serde(rename = "mysql")]
    MySql,
    /// MariaDB.
    #[serde(rename = "mariadb")]
    MariaDb,
}

impl Flavour {
    /// The name used in files, topics and command lines: `mysql` or `mariadb`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text named neither flavour.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no flavour of server; write `mysql` or `mariadb`")]
pub struct UnknownFlavour(pub String);

impl FromStr for Flavour {
    type Err = UnknownFlavour;

    fn from_str(text: &str) -> Result<Self, UnknownFlavour> {
        match text {
            "mysql" => Ok(Self::MySql),
            "mariadb" => Ok(Self::MariaDb),
            other => Err(UnknownFlavour(other.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flavour_reads_what_it_writes_and_refuses_the_rest() {
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            assert_eq!(flavour.to_string().parse(), Ok(flavour));
            assert_eq!(serde_json::to_string(&flavour).unwrap(), format!("\"{flavour}\""));
        }
        assert_eq!("MySQL".parse::<Flavour>(), Err(UnknownFlavour("MySQL".into())));
    }
}
