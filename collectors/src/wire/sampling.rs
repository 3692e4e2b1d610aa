//! What is done when there is more than can be followed: of so many connections one is, chosen by its two ends, so that all of its
//! commands are there or none. A factor is a power of two and holds for whole seconds; who is followed at twice a factor is followed
//! at it. So a row that stands for so many has the same chance everywhere, and sums of rows times their factors are unbiased.

/// One of 64: a server that is 64 times too fast for one core has more clients than that.
const FACTOR_MAX: u32 = 64;
/// Seconds without a drop, and mostly idle, until twice as many connections are followed: a minute's rhythm is half of it.
const CALM_SECONDS_MIN: u32 = 30;
/// The same after that was too much again and again: 10 minutes.
const CALM_SECONDS_MAX: u32 = 600;
/// A second in which the kernel drops a hundredth of its packets is too much; fewer are in the third second in a row.
const DROPPED_PARTS: u64 = 100;
const DROPPING_SECONDS: u32 = 3;
/// After each step two seconds are let pass: it holds from the next one on, and the kernel's buffer has what came before.
const SETTLING_SECONDS: u32 = 2;
/// Fewer than 8 connections say little of the others: then it is better to lose packets, and count them.
const FOLLOWED_MIN: usize = 8;
/// Twice the connections are twice the work: at 40 % there is room for them.
const BUSY_MAX: f64 = 0.4;

/// Which connections are followed.
#[derive(Debug)]
pub(super) struct Sampling {
    factor: u32,
    /// The factor from this second on.
    next: Option<(i64, u32)>,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { factor: 1, next: None }
    }
}

impl Sampling {
    /// One connection of so many is followed.
    pub(super) fn factor(&self) -> u32 {
        self.factor
    }

    /// What the kernel may leave out meanwhile: nothing that is followed now or was planned to be.
    pub(super) fn passed(&self) -> u32 {
        self.next.map_or(self.factor, |(_, next)| next.min(self.factor))
    }

    /// One of so many, rounded up to a power of two, from the next second on.
    pub(super) fn plan(&mut self, factor: u32, now_us: i64) {
        let factor = factor.clamp(1, FACTOR_MAX).next_power_of_two();
        self.next = (factor != self.factor).then_some((now_us.div_euclid(1_000_000) + 1, factor));
    }

    /// Half of what is followed, from the next second on.
    pub(super) fn halve(&mut self, now_us: i64) {
        self.plan(self.factor * 2, now_us);
    }

    /// Whether what was planned begins to hold at this time.
    pub(super) fn turns(&mut self, now_us: i64) -> bool {
        match self.next {
            Some((second, factor)) if now_us.div_euclid(1_000_000) >= second => {
                (self.factor, self.next) = (factor, None);
                true
            }
            _ => false,
        }
    }
}

/// How a second of a live capture was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Packets that came, and those that the kernel dropped since nobody took them.
    pub(super) received: u64,
    pub(super) dropped: u64,
    /// The share of the time in which the decoder worked.
    pub(super) busy: f64,
    /// Connections that are followed.
    pub(super) followed: usize,
}

/// Finds the factor of a live capture, second by second.
#[derive(Debug)]
pub(super) struct Pressure {
    factor: u32,
    calm: u32,
    /// So many calm seconds until more is tried.
    wait: u32,
    dropping: u32,
    /// So many seconds until what is dropped says something of the factor.
    settling: u32,
    /// More was tried, and was not too much yet.
    trying: bool,
}

impl Default for Pressure {
    fn default() -> Self {
        Pressure { factor: 1, calm: 0, wait: CALM_SECONDS_MIN, dropping: 0, settling: 0, trying: false }
    }
}

impl Pressure {
    /// The factor after a second with this one and this load.
    pub(super) fn next(&mut self, factor: u32, load: Load) -> u32 {
        // The decoder halves what it follows by itself when it has no room.
        let halved = factor > self.factor;
        if self.settling > 0 && !halved {
            self.settling -= 1;
            self.factor = factor;
            return factor;
        }
        self.dropping = if load.dropped == 0 { 0 } else { self.dropping + 1 };
        let many = load.dropped > 0 && load.dropped * DROPPED_PARTS >= load.received;
        let too_much = (many || self.dropping >= DROPPING_SECONDS) && load.followed >= 2 * FOLLOWED_MIN;
        if too_much || halved {
            self.wait = if self.trying { (self.wait * 2).min(CALM_SECONDS_MAX) } else { self.wait };
            (self.calm, self.dropping, self.trying, self.settling) = (0, 0, false, SETTLING_SECONDS);
            self.factor = if halved { factor } else { (factor * 2).min(FACTOR_MAX) };
            return self.factor;
        }
        self.calm = if load.dropped == 0 && load.busy <= BUSY_MAX { self.calm + 1 } else { 0 };
        self.factor = factor;
        if self.calm >= self.wait {
            // It held as long as was asked for: it was not too much.
            self.wait = if self.trying { CALM_SECONDS_MIN } else { self.wait };
            (self.calm, self.trying) = (0, factor > 1);
            self.factor = (factor / 2).max(1);
        }
        self.factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_holds_from_the_next_second_on() {
        let mut sampling = Sampling::default();
        sampling.plan(3, 5_200_000);
        assert!(!sampling.turns(5_999_999));
        assert_eq!(sampling.factor(), 1);
        assert!(sampling.turns(6_000_000) && !sampling.turns(7_000_000));
        assert_eq!(sampling.factor(), 4);
    }

    #[test]
    fn the_kernel_leaves_out_what_is_not_followed_and_will_not_be() {
        let mut sampling = Sampling::default();
        sampling.plan(4, 0);
        assert_eq!(sampling.passed(), 1, "all are followed until then");
        sampling.turns(1_000_000);
        assert_eq!(sampling.passed(), 4);
        sampling.plan(2, 1_500_000);
        assert_eq!(sampling.passed(), 2, "more will be followed, and must be there then");
    }

    fn load(dropped: u64, busy: f64) -> Load {
        Load { received: 10_000, dropped, busy, followed: 1_000 }
    }

    #[test]
    fn what_is_too_much_is_halved_at_once() {
        let mut pressure = Pressure::default();
        assert_eq!(pressure.next(1, load(0, 1.0)), 1, "busy alone loses nothing");
        assert_eq!(pressure.next(1, load(100, 1.0)), 2);
        for second in 0..2 {
            assert_eq!(pressure.next(2, load(5_000, 1.0)), 2, "second {second}: of what came before");
        }
        assert_eq!(pressure.next(2, load(1, 1.0)), 2);
        assert_eq!(pressure.next(2, load(1, 1.0)), 2);
        assert_eq!(pressure.next(2, load(1, 1.0)), 4, "the third second in a row");
    }

    #[test]
    fn a_few_connections_are_all_followed_whatever_is_lost() {
        let mut pressure = Pressure::default();
        let followed = |followed| Load { followed, ..load(9_000, 1.0) };
        assert_eq!(pressure.next(4, followed(15)), 4);
        let mut pressure = Pressure::default();
        assert_eq!(pressure.next(1, followed(16)), 2);
        let mut pressure = Pressure { factor: 64, ..Pressure::default() };
        assert_eq!(pressure.next(64, followed(1_000)), 64, "one of 64 is the least");
    }

    #[test]
    fn more_is_tried_when_it_is_calm_and_less_often_when_that_was_too_much() {
        let mut pressure = Pressure::default();
        let mut factor = pressure.next(1, load(5_000, 1.0));
        let mut tries = Vec::new();
        for second in 0..4_000 {
            // One core carries half of the connections, and no more.
            let now = if factor == 1 { load(500, 1.0) } else { load(0, 0.3) };
            let next = pressure.next(factor, now);
            if next < factor {
                tries.push(second);
            }
            factor = next;
        }
        let waits: Vec<i32> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(&waits[..5], [63, 123, 243, 483, 603], "{waits:?}");
        assert!(waits[5..].iter().all(|wait| *wait == 603), "{waits:?}");
        // And when there is room for good, all of them are followed again.
        for _ in 0..2_000 {
            factor = pressure.next(factor, load(0, 0.1));
        }
        assert_eq!((factor, pressure.wait), (1, CALM_SECONDS_MIN));
    }
}
