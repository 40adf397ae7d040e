//! Long forms: minutes each. `tests/run --long` runs them.

#[cfg(test)]
#[path = "../it/support/mod.rs"]
mod support;

#[cfg(test)]
mod chaos;
#[cfg(test)]
mod saturation;
#[cfg(test)]
mod soak;
