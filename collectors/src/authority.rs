//! Which source counts the statements of an instance, second by second. What was seen of its traffic enters; the source that ought
//! to count leaves. Packets tell most: every statement with its own time, user and bytes. But of an encrypted session they tell no
//! texts, and of a socket, or of an interface that is not captured, nothing. The server's own counters tell texts whatever the
//! transport, in sums of ten seconds; and how many statements there were tells how many no packet showed.
//!
//! The rule: packets count until, over the last minute, a fifth of the statements or more were encrypted or not seen; then the
//! server's counters do, until, over the last two minutes, it was a twentieth or less. Where no packets can be captured, the
//! counters do. Once chosen, packets stay for ten seconds at least and counters for two minutes, and fewer than 20 turns in that
//! time change nothing. It must never name two sources for one second.

use std::collections::VecDeque;

use millrace_schemas::topics::queries::Source;

/// 60 s: a connection pool that is being renewed must not look like a change of habits.
const LEAVE_SECONDS: i64 = 60;
/// 120 s, and no change back before: each change leaves a second or so uncounted, so that at most 1 % is lost to changes.
const RETURN_SECONDS: i64 = 120;
/// 10 s of packets at least before they are left: the first seconds of an agent are those of whoever connects first.
const SETTLE_SECONDS: i64 = 10;
/// 20 turns: a tool that looks in once a minute says nothing of an application.
const TURNS_MIN: u64 = 20;
/// A fifth encrypted: from there on more is missing from the digests than averages over ten seconds lose.
const LEAVE_PERCENT: u64 = 20;
/// A twentieth: far enough below that a share which wanders around either does not change the source.
const RETURN_PERCENT: u64 = 5;

/// What packets showed of an instance in one second, without the agent's own statements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turns {
    /// Statements that could be read.
    pub clear: u64,
    /// Turns of encrypted sessions.
    pub encrypted: u64,
    /// Statements that the server counted and no packet showed.
    pub unseen: u64,
}

impl Turns {
    fn add(&mut self, more: Turns) {
        self.clear += more.clear;
        self.encrypted += more.encrypted;
        self.unseen += more.unseen;
    }
}

/// Which source counts the statements of one instance.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The configuration names it.
    fixed: bool,
    /// Packets are captured, and those of the instance can be among them.
    captured: bool,
    source: Source,
    /// The first second that it counts, and the source that counted before.
    since: Option<(i64, Source)>,
    /// The last seconds with traffic, in their order.
    seen: VecDeque<(i64, Turns)>,
    /// The first second that was ever seen.
    seen_from: Option<i64>,
}

impl Authority {
    /// The source that the configuration names.
    pub fn fixed(source: Source) -> Self {
        Self { fixed: true, captured: false, source, since: None, seen: VecDeque::new(), seen_from: None }
    }

    /// Packets while they tell enough, else the server's counters; the latter from the beginning where nothing is captured.
    pub fn automatic(captured: bool) -> Self {
        let source = if captured { Source::Wire } else { Source::PerformanceSchema };
        Self { fixed: false, captured, ..Self::fixed(source) }
    }

    /// The source that counts from now on.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Whether the rows that `source` has of `second` count.
    pub fn counts(&self, source: Source, second: i64) -> bool {
        match self.since {
            Some((since, before)) if second < since => before == source,
            _ => self.source == source,
        }
    }

    /// Packets cannot be captured, or are no longer.
    pub fn lose_capture(&mut self) {
        self.captured = false;
    }

    /// Whether packets are there to go back to.
    pub fn has_capture(&self) -> bool {
        self.captured
    }

    /// Takes what packets showed of `second`; seconds come in order, quiet ones may be left out.
    pub fn observe(&mut self, second: i64, turns: Turns) {
        self.seen_from.get_or_insert(second);
        match self.seen.back_mut() {
            Some((last, sum)) if *last >= second => sum.add(turns),
            _ => self.seen.push_back((second, turns)),
        }
        while self.seen.front().is_some_and(|(first, _)| *first <= second - RETURN_SECONDS) {
            self.seen.pop_front();
        }
    }

    /// Takes how many `statements` the server counted in the seconds behind `from` up to `to`, of which packets have told everything
    /// by now; gives the share of them that no packet showed. Some at the first border are on the server's side only: they stand beside
    /// that second's own, so that what is left of a load that ended never looks like one that was not seen.
    pub fn compare(&mut self, from: i64, to: i64, statements: u64) -> f64 {
        let seen = self.seen.iter().filter(|(at, _)| (from + 1..=to).contains(at));
        let shown: u64 = seen.map(|(_, turns)| turns.clear + turns.encrypted).sum();
        let unseen = statements.saturating_sub(shown);
        self.seen_from.get_or_insert(to);
        let first = self.seen.partition_point(|(at, _)| *at < from);
        match self.seen.get_mut(first) {
            Some((at, turns)) if *at == from => turns.unseen += unseen,
            _ => self.seen.insert(first, (from, Turns { unseen, ..Turns::default() })),
        }
        if statements == 0 { 0.0 } else { unseen as f64 / statements as f64 }
    }

    /// The source that ought to count instead of the one that does; none when all is well.
    pub fn wanted(&self, now: i64) -> Option<Source> {
        if self.fixed {
            return None;
        }
        let held = self.since.map_or(self.seen_from, |(since, _)| Some(since)).map_or(0, |since| now - since);
        match self.source {
            Source::Wire if !self.captured => Some(Source::PerformanceSchema),
            Source::Wire => {
                let much = self.hidden_percent(now - LEAVE_SECONDS).is_some_and(|share| share >= LEAVE_PERCENT);
                (held >= SETTLE_SECONDS && much).then_some(Source::PerformanceSchema)
            }
            _ if !self.captured => None,
            _ => {
                let little = self.hidden_percent(now - RETURN_SECONDS).is_some_and(|share| share <= RETURN_PERCENT);
                (held >= RETURN_SECONDS && little).then_some(Source::Wire)
            }
        }
    }

    /// From the second `from` on `to` counts. That second must not have been told by anybody.
    pub fn change(&mut self, to: Source, from: i64) {
        if to != self.source {
            self.since = Some((from, self.source));
            self.source = to;
        }
    }

    /// How many in a hundred statements after `second` were encrypted or not seen; none when there were too few to say.
    fn hidden_percent(&self, second: i64) -> Option<u64> {
        let mut lately = Turns::default();
        self.seen.iter().filter(|(at, _)| *at > second).for_each(|(_, turns)| lately.add(*turns));
        let hidden = lately.encrypted + lately.unseen;
        let all: u64 = lately.clear + hidden;
        (all >= TURNS_MIN).then(|| hidden * 100 / all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays `share` percent of ten encrypted turns a second; the changes, each with its second.
    fn play(mut authority: Authority, seconds: i64, share: impl Fn(i64) -> u64) -> Vec<(i64, Source)> {
        let mut changes = Vec::new();
        for second in 0..seconds {
            let encrypted = share(second);
            authority.observe(second, Turns { clear: 100 - encrypted, encrypted, unseen: 0 });
            if let Some(to) = authority.wanted(second) {
                authority.change(to, second + 1);
                changes.push((second, to));
            }
        }
        changes
    }

    const PS: Source = Source::PerformanceSchema;

    #[test]
    fn packets_count_while_the_traffic_is_in_the_clear() {
        assert_eq!(play(Authority::automatic(true), 1_000, |_| 0), []);
        assert_eq!(play(Authority::automatic(true), 1_000, |_| 19), []);
        // A pool that is renewed over TLS for some seconds an hour.
        assert_eq!(play(Authority::automatic(true), 1_000, |at| if (500..510).contains(&at) { 100 } else { 0 }), []);
    }

    #[test]
    fn encrypted_traffic_is_left_to_the_server() {
        assert_eq!(play(Authority::automatic(true), 1_000, |_| 100), [(10, PS)]);
        // Over a minute, a third of the turns make a fifth of the last minute after 36 seconds.
        assert_eq!(play(Authority::automatic(true), 1_000, |at| if at < 500 { 0 } else { 33 }), [(536, PS)]);
    }

    #[test]
    fn packets_are_taken_up_again_when_hardly_anything_is_encrypted() {
        let changes = play(Authority::automatic(true), 1_000, |at| if at < 300 { 100 } else { 0 });
        assert_eq!(changes, [(10, PS), (412, Source::Wire)]); // seven encrypted seconds of 120 are left
    }

    #[test]
    fn a_share_that_wanders_changes_little() {
        // Between the two levels neither source is left.
        assert_eq!(play(Authority::automatic(true), 10_000, |at| if at % 20 < 10 { 19 } else { 6 }), []);
        let after = |at: i64| if at < 60 { 50 } else { 6 + (at % 14) as u64 };
        assert_eq!(play(Authority::automatic(true), 10_000, after), [(10, PS)]);
        // Whatever it does, two changes in two minutes and ten seconds are the most.
        let changes = play(Authority::automatic(true), 100_000, |at| if at / 97 % 2 == 0 { 100 } else { 0 });
        assert!(changes.windows(3).all(|of| of[2].0 - of[0].0 >= RETURN_SECONDS + SETTLE_SECONDS), "{changes:?}");
    }

    #[test]
    fn too_little_traffic_says_nothing() {
        let mut authority = Authority::automatic(true);
        for second in 0..1_000 {
            if second % 10 == 0 {
                authority.observe(second, Turns { encrypted: 3, ..Turns::default() });
            }
            assert_eq!(authority.wanted(second), None, "{second}");
        }
    }

    #[test]
    fn what_comes_by_socket_is_left_to_the_server() {
        // 10 statements a second over TCP, and from the hundredth second on 5 over a socket; a look every ten seconds.
        let mut authority = Authority::automatic(true);
        let mut changed = None;
        for second in 0..300 {
            authority.observe(second, Turns { clear: 10, ..Turns::default() });
            if second % 10 == 9 && second >= 19 {
                let all = if second < 119 { 100 } else { 150 };
                // What packets have of the last ten seconds is not all there yet, and a border moves by a second.
                let share = authority.compare(second - 20, second - 10, all + 5);
                assert!((share - (all - 95) as f64 / (all + 5) as f64).abs() < 0.01, "{second}: {share}");
            }
            changed = changed.or_else(|| authority.wanted(second).map(|to| (second, to)));
        }
        // A third of what comes, and a fifth of the last minute.
        assert_eq!(changed, Some((139, PS)));
        let mut authority = Authority::automatic(true);
        assert!(authority.compare(0, 10, 0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_server_of_which_no_packet_shows_anything_counts_itself() {
        let mut authority = Authority::automatic(true);
        let mut changed = None;
        for second in (19..100).step_by(10) {
            authority.compare(second - 20, second - 10, 200);
            changed = changed.or_else(|| authority.wanted(second).map(|to| (second, to)));
        }
        assert_eq!(changed, Some((19, PS)));
    }

    #[test]
    fn what_is_left_of_a_load_that_ended_was_seen() {
        let mut authority = Authority::automatic(true);
        for second in 0..300 {
            if second < 70 {
                authority.observe(second, Turns { clear: 100, ..Turns::default() });
            }
            if second % 10 == 9 && second >= 19 {
                // The last look at the load came a little before its last second had ended, by the server's count.
                let statements = if second <= 79 { 1_000 } else { 15 * u64::from(second == 89) };
                authority.compare(second - 20, second - 10, statements);
            }
            assert_eq!(authority.wanted(second), None, "{second}");
        }
    }

    #[test]
    fn without_a_capture_the_server_counts() {
        let authority = Authority::automatic(false);
        assert_eq!((authority.source(), authority.wanted(0)), (PS, None));
        assert!(authority.counts(PS, 5) && !authority.counts(Source::Wire, 5));
        let mut lost = Authority::automatic(true);
        assert_eq!(lost.wanted(0), None);
        lost.lose_capture();
        assert_eq!(lost.wanted(0), Some(PS));
    }

    #[test]
    fn what_the_configuration_names_stays() {
        for source in [Source::Wire, PS] {
            assert_eq!(play(Authority::fixed(source), 1_000, |at| if at < 500 { 100 } else { 0 }), []);
        }
    }

    #[test]
    fn every_second_has_one_source() {
        let mut authority = Authority::automatic(true);
        authority.change(PS, 100);
        authority.change(PS, 150); // it counts already
        let of = |second| [Source::Wire, PS].map(|source| authority.counts(source, second));
        assert_eq!([0, 99, 100, 150].map(of), [[true, false], [true, false], [false, true], [false, true]]);
        let authority = {
            authority.change(Source::Wire, 300);
            authority
        };
        let of = |second| [Source::Wire, PS].map(|source| authority.counts(source, second));
        assert_eq!([299, 300].map(of), [[false, true], [true, false]]);
        assert!(!authority.counts(Source::SlowLog, 299) && !authority.counts(Source::SlowLog, 300));
    }
}
