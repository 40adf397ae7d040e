//! The neutral form of an answer.

use crate::engine::usage::Usage;

/// A piece of an answer, in the order in which it was given.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// It begins.
    Begun {
        /// Its id.
        id: String,
        /// The model that answers.
        model: String,
        /// Unix seconds.
        created: u64,
    },
    /// What the model thinks, or as much of it as it shows.
    Thought(String),
    /// What it says.
    Text(String),
    /// A tool of the client is called, with all that it is called with.
    Called {
        /// Names the call.
        id: String,
        /// The tool.
        name: String,
        /// JSON.
        arguments: String,
    },
    /// It is over.
    Ended(Why, Usage),
}

/// Why an answer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is complete.
    Complete,
    /// Tools of the client are called.
    Calls,
    /// It has reached its limit.
    Limit,
    /// The upstream withheld the rest.
    Withheld,
}
