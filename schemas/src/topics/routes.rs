//! Topic `routes`: who is the primary of a cluster, who are its replicas, since which epoch. Applications and proxies
//! follow it; a route with a lower epoch than one already seen is to be ignored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Topic;
use crate::cluster::Member;
use crate::event::Payload;
use crate::ids::Epoch;

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum Routing {
    /// The route of a cluster.
    #[serde(rename = "millrace.route.v1")]
    Route(Route),
}

impl Payload for Routing {
    const TOPIC: Topic = Topic::Routes;
    const KINDS: &'static [&'static str] = &["millrace.route.v1"];
}

/// Where to write and where to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// The cluster's name, for people.
    pub name: String,
    /// The epoch it holds since.
    pub epoch: Epoch,
    /// Where to write; absent while nobody may be written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<Member>,
    /// Where to read.
    pub replicas: Vec<Member>,
}
