//! `GET /v1/models` in OpenAI's shape.

use serde::{Deserialize, Serialize};

/// All models; there is no paging.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelList {
    /// Always `list`.
    pub object: String,
    /// The models.
    pub data: Vec<Model>,
}

impl ModelList {
    /// A list of these.
    pub fn of(data: Vec<Model>) -> ModelList {
        ModelList {
            object: "list".to_owned(),
            data,
        }
    }
}

/// One model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The name that requests use.
    pub id: String,
    /// Always `model`.
    pub object: String,
    /// When it came to be, Unix seconds.
    pub created: u64,
    /// Whose it is.
    pub owned_by: String,
}

impl Model {
    /// A model of that name.
    pub fn new(id: impl Into<String>, created: u64, owned_by: impl Into<String>) -> Model {
        Model {
            id: id.into(),
            object: "model".to_owned(),
            created,
            owned_by: owned_by.into(),
        }
    }
}
