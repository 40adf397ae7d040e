//! Integration tests: one binary, a module a subject.

// `cfg(test)` is what the lints for tests look for; without it their helpers count as production code.
#[cfg(test)]
mod child;
#[cfg(test)]
mod door;
#[cfg(test)]
mod telemetry;
