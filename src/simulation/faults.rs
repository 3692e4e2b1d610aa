//! What goes wrong in a schedule, and when: drawn from the seed before the schedule begins, so that a schedule is its seed.

use std::time::Duration;

use millrace_schemas::time::Timestamp;

use crate::bus::memory::Dice;

/// 4 s: faults come close together, while the answer to the one before is under way.
const WITHIN_US: u64 = 4_000_000;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL of whoever is open.
    Primary,
    /// SIGKILL of a server.
    Server(usize),
    /// An agent dies for a while.
    Agent(usize, Duration),
    /// Steps of an agent take seconds for a while: they time out, and are done nevertheless.
    Slow(usize, Duration),
    /// A host is off for a while: server, guard and agent.
    Host(usize, Duration),
    /// A decider dies for a while.
    Decider(usize, Duration),
    /// An executor dies for a while.
    Executor(usize, Duration),
    /// An executor is frozen and goes on.
    Frozen(usize, Duration),
    /// The bus is away for a while.
    Bus(Duration),
}

/// The faults of a schedule, in order.
pub(super) fn draw(dice: &mut Dice, members: usize) -> Vec<(Timestamp, Fault)> {
    let mut faults = Vec::new();
    let at = |dice: &mut Dice| Timestamp(1_000_000 + dice.below(WITHIN_US) as i64);
    if dice.chance(850) {
        faults.push((at(dice), Fault::Primary));
    }
    for _ in 0..=dice.below(4) {
        let when = at(dice);
        faults.push((when, one(dice, members)));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

fn one(dice: &mut Dice, members: usize) -> Fault {
    let member = dice.below(members as u64) as usize;
    let pair = dice.below(2) as usize;
    let lasts = |dice: &mut Dice, most_ms: u64| Duration::from_millis(50 + dice.below(most_ms));
    match dice.below(9) {
        0 => Fault::Primary,
        1 => Fault::Server(member),
        2 => Fault::Agent(member, lasts(dice, 7_000)),
        3 => Fault::Slow(member, lasts(dice, 7_000)),
        4 => Fault::Host(member, lasts(dice, 13_000)),
        5 => Fault::Decider(pair, lasts(dice, 5_000)),
        6 => Fault::Executor(pair, lasts(dice, 5_000)),
        7 => Fault::Frozen(pair, lasts(dice, 6_000)),
        _ => Fault::Bus(lasts(dice, 4_000)),
    }
}
