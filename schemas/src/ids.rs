//! Names of things: clusters, instances, hosts, events, epochs. Text ids are checked where they enter and trusted after.
//! Event ids are hashes of what caused them, so that a replay mints the same ids again.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::Xxh3;

/// 64 bytes: fits a MySQL `VARCHAR(64)` key, a file name and a metric label.
pub const ID_BYTES_MAX: usize = 64;

/// The key that all clusters' fleet-wide permits are asked under. No cluster can be declared under this name.
pub const FLEET: &str = "fleet";

/// [`FLEET`] as the cluster of an event.
pub fn fleet() -> ClusterId {
    ClusterId::parse(FLEET).expect("a legal id")
}

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {what}: use 1 to 64 of a-z, 0-9, '-', '_' and '.', starting with a letter or digit")]
pub struct BadId {
    what: &'static str,
    text: String,
}

fn check(what: &'static str, text: &str) -> Result<(), BadId> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let first = text.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if first && text.len() <= ID_BYTES_MAX && text.chars().all(legal) {
        return Ok(());
    }
    Err(BadId { what, text: text.chars().take(ID_BYTES_MAX + 1).collect() })
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(#[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]{0,63}$"))] String);

        impl $name {
            /// Checks `text`; the error names it and says what is allowed.
            pub fn parse(text: impl Into<String>) -> Result<Self, BadId> {
                let text = text.into();
                check($what, &text).map(|()| Self(text))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::parse(String::deserialize(from)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id!(
    /// A cluster: minted at enrolment, never derived from names or topology.
    ClusterId, "cluster id"
);
/// Why a text cannot name a cluster that is declared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCluster {
    /// Not an id at all.
    #[error(transparent)]
    Id(#[from] BadId),
    /// The name stands for all clusters together.
    #[error("'{FLEET}' is reserved for what concerns all clusters together: give the cluster another id")]
    Reserved,
}

impl ClusterId {
    /// Checks the name of a cluster that somebody creates or enrols: a legal id that is not reserved.
    pub fn declared(text: impl Into<String>) -> Result<Self, BadCluster> {
        let id = Self::parse(text)?;
        if id.as_str() == FLEET { Err(BadCluster::Reserved) } else { Ok(id) }
    }
}

text_id!(
    /// One server process with its data directory.
    InstanceId, "instance id"
);
text_id!(
    /// A host: the thing that has one agent.
    HostId, "host id"
);

/// Counts the role changes of a cluster. Whoever acts names the epoch it acts in; agents refuse lower ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 128 bits that name an event, in text 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u128);

impl EventId {
    /// The id of what `parts` name together. Lengths are hashed too, so `["ab","c"]` and `["a","bc"]` differ.
    pub fn derive(parts: &[&str]) -> Self {
        let mut hash = Xxh3::new();
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        Self(hash.digest128())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::str::FromStr for EventId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is not an event id: 32 hexadecimal digits are expected");
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| bad())
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for EventId {
    fn schema_name() -> Cow<'static, str> {
        "EventId".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })
    }
}

/// 128 bits that name a statement digest, in text 32 hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DigestId(pub [u8; 16]);

impl fmt::Display for DigestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for DigestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for DigestId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let id: EventId =
            text.parse().map_err(|_| format!("'{text}' is not a digest id: 32 hexadecimal digits are expected"))?;
        Ok(Self(id.0.to_be_bytes()))
    }
}

impl Serialize for DigestId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DigestId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for DigestId {
    fn schema_name() -> Cow<'static, str> {
        "DigestId".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ids_are_checked_at_the_door() {
        let check = |text: &str, good| assert_eq!(InstanceId::parse(text).is_ok(), good, "{text}");
        check("db-1.example_a", true);
        check("", false);
        check("-db", false);
        check("DB1", false);
        check("a b", false);
        check("a/b", false);
        check(&"x".repeat(64), true);
        check(&"x".repeat(65), false);
        assert!(serde_json::from_str::<HostId>("\"../etc\"").is_err());
    }

    #[test]
    fn no_cluster_is_declared_under_the_name_of_the_fleet() {
        assert!(ClusterId::declared("fleet-1").is_ok());
        let error = ClusterId::declared("fleet").expect_err("reserved").to_string();
        assert!(error.contains("'fleet' is reserved"), "{error}");
        assert!(ClusterId::declared("Fleet").expect_err("no id").to_string().contains("not a cluster id"));
    }

    #[test]
    fn event_ids_depend_on_every_part_and_its_bounds() {
        assert_eq!(EventId::derive(&["a", "b"]), EventId::derive(&["a", "b"]));
        assert_ne!(EventId::derive(&["ab", "c"]), EventId::derive(&["a", "bc"]));
        let id = EventId::derive(&["x"]);
        assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
        assert!("+1".parse::<EventId>().is_err());
    }
}
