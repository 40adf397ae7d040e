//! The configuration as administrators see and change it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where the value in force comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConfigSource {
    /// Nobody set it.
    Default,
    /// The node's file.
    File,
    /// The configuration that the cluster's nodes share.
    Cluster,
    /// A variable of the node's environment: it goes before whatever is set here.
    Environment,
    /// A flag of the node's command line: the same.
    Flag,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ConfigKeyView {
    /// `section.key`.
    pub key: String,
    /// What counts now; of a secret a mask if it is set, else an empty text.
    pub value: Value,
    /// What counts where nobody sets it; `null` = not set.
    pub default: Value,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Where exactly: file and line, variable, flag; empty for a default.
    pub place: String,
    /// What the key does.
    pub doc: String,
    /// `flag`, `text`, `choice`, `int`, `number`, `texts`, `ints`, `tables` or `table_map`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The keys of a row, of `tables` and `table_map`; those of tables inside them follow the key that holds them.
    pub fields: Vec<ConfigFieldView>,
    /// What it can be, of a choice.
    pub choices: Vec<String>,
    /// Smallest value, of a number.
    pub min: Option<f64>,
    /// Largest value, of a number.
    pub max: Option<f64>,
    /// A change takes effect only at a node's next start.
    pub restart: bool,
    /// Each node has its own, also in a cluster.
    pub per_node: bool,
    /// Write-only: the value is never shown.
    pub secret: bool,
    /// Changed since this node started, and waiting for its next start.
    pub pending: bool,
}

/// A key that stands in the rows of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ConfigFieldView {
    /// `section.key.field`.
    pub key: String,
    /// What it does.
    pub doc: String,
    /// As of a key.
    #[serde(rename = "type")]
    pub kind: String,
    /// Smallest value, of a number.
    pub min: Option<f64>,
    /// Largest value, of a number.
    pub max: Option<f64>,
}

/// A section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ConfigSectionView {
    /// Its name, with which its keys begin.
    pub name: String,
    /// What it is about.
    pub doc: String,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ConfigView {
    /// Names this state: an edit that brings it is refused if somebody edited in between.
    pub revision: String,
    /// Whether it is the cluster's.
    pub shared: bool,
    /// Every section, in the order of the example file.
    pub sections: Vec<ConfigSectionView>,
    /// Every key, in the order of the example file.
    pub keys: Vec<ConfigKeyView>,
    /// What is stored and not in force on this node, because something in it is wrong: every fault, a line each.
    pub problem: Option<String>,
    /// What an operator should know, a line each.
    pub warnings: Vec<String>,
}

/// Asks for everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigAsk {}

/// An edit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigChange {
    /// The revision that the editor looked at. Not given: keys that nobody else changes at the same moment are merged.
    #[serde(default)]
    pub revision: Option<String>,
    /// `section.key` → value; `null` goes back to the default; the mask leaves a secret as it is.
    pub values: Map<String, Value>,
}

/// What an edit came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ConfigSaved {
    /// `success`.
    pub status: String,
    /// For people.
    pub message: String,
    /// The new revision.
    pub revision: String,
    /// Keys whose value in force changed on this node.
    pub changed: Vec<String>,
    /// Keys that wait for this node's next start.
    pub pending: Vec<String>,
    /// Keys that the environment or a flag of this node goes on overruling.
    pub overruled: Vec<String>,
    /// What an operator should know, a line each.
    pub warnings: Vec<String>,
}
