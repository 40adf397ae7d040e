//! File descriptors: the soft limit is raised at start, and the number of client connections follows from it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What stays for the store, logs, probes, the bus and refusals.
const KEPT_BACK: u64 = 256;
/// A proxied call holds the client's socket and the upstream's.
const PER_CONNECTION: u64 = 2;
/// Without a limit of the system we still want one: 50,000 streams at ~50 KB each are 2.5 GB.
const CEILING: usize = 50_000;
/// Below this a gateway is of no use; better to run into EMFILE, which the door survives.
const FLOOR: usize = 16;

/// The soft limit on open files before and after [`raise`]. `None` is "no limit".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// What the process was started with.
    pub before: Option<u64>,
    /// What holds now.
    pub after: Option<u64>,
}

impl DescriptorLimit {
    /// How many client connections fit, when the configuration does not say.
    pub fn connections(&self) -> usize {
        match self.after {
            None => CEILING,
            Some(limit) => {
                let fit = limit.saturating_sub(KEPT_BACK) / PER_CONNECTION;
                usize::try_from(fit).unwrap_or(CEILING).clamp(FLOOR, CEILING)
            }
        }
    }
}

impl std::fmt::Display for DescriptorLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let say = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
        if self.before == self.after {
            write!(f, "{}", say(self.after))
        } else {
            write!(f, "{} (was {})", say(self.after), say(self.before))
        }
    }
}

/// Raises the soft limit on open files to the hard one. A refusal leaves it as it was: the limit we then report is true.
pub fn raise() -> DescriptorLimit {
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    // A refusal is no fault: a container may forbid it, and what we read back is what counts.
    let _ = setrlimit(Resource::Nofile, wanted);
    DescriptorLimit {
        before: now.current,
        after: getrlimit(Resource::Nofile).current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(after: Option<u64>) -> usize {
        DescriptorLimit { before: None, after }.connections()
    }

    #[test]
    fn two_descriptors_a_connection_and_some_kept_back() {
        assert_eq!(with(Some(1024)), 384);
        assert_eq!(with(Some(20_256)), 10_000);
        assert_eq!(with(Some(100)), FLOOR);
        assert_eq!(with(Some(u64::MAX)), CEILING);
        assert_eq!(with(None), CEILING);
    }

    #[test]
    fn raising_reaches_the_hard_limit() {
        let limit = raise();
        assert_eq!(limit.after, getrlimit(Resource::Nofile).maximum);
    }
}
