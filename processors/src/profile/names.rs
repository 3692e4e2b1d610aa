//! Names and how many calls had them: the first that come are kept apart, the calls of further ones are counted together.

use millrace_schemas::profile::{NameCount, Names};

/// 16 names of one kind in one group: as many as a person reads.
const NAMES_MAX: usize = 16;
/// 80 bytes of a name: the longest account name that servers allow; a longer one was forged.
const NAME_BYTES_MAX: usize = 80;

#[derive(Debug, Default)]
pub(super) struct NameCounts {
    named: Vec<(Box<str>, u64)>,
    more_calls: u64,
}

impl NameCounts {
    /// Counts calls of a name; true when it is kept apart from now on.
    pub(super) fn add(&mut self, name: &str, calls: u64) -> bool {
        let name = cut(name);
        if let Some((_, count)) = self.named.iter_mut().find(|(known, _)| &**known == name) {
            *count += calls;
            return false;
        }
        if self.named.len() == NAMES_MAX {
            self.more_calls += calls;
            return false;
        }
        self.named.reserve_exact(1);
        self.named.push((name.into(), calls));
        true
    }

    pub(super) fn bytes(&self) -> usize {
        let names: usize = self.named.iter().map(|(name, _)| name.len()).sum();
        names + self.named.capacity() * size_of::<(Box<str>, u64)>()
    }

    pub(super) fn names(&self) -> Names {
        let mut named: Vec<NameCount> =
            self.named.iter().map(|(name, calls)| NameCount { name: name.to_string(), calls: *calls }).collect();
        named.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.name.cmp(&b.name)));
        Names { named, more_calls: self.more_calls }
    }
}

fn cut(name: &str) -> &str {
    let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
    &name[..end.unwrap_or(0)]
}
