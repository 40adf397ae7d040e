//! The official xAI API.
