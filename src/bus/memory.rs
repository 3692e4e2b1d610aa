//! The bus of tests: a seeded world in memory with several partitions, that on request duplicates appends, loses their
//! answers, shows records late, and goes away. The same seed and calls give the same bytes. Its clock is set by the test.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millrace_schemas::record::{NewRecord, Record, partition_of};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::{Retention, Topic};

use super::{Assignment, Bus, Error, Landed, Polled, Reader, Receipt, Snapshot, too_large};

/// What goes wrong, each as a chance in 1,000.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A record is appended twice.
    pub duplicate: u64,
    /// Records were appended, but the producer is told that the bus is unavailable.
    pub lost_answer: u64,
    /// A poll shows a partition's newest records only later.
    pub late: u64,
}

/// A small seeded generator (splitmix64): enough to choose faults, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Seeded.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// True in `chance` of 1,000 rolls.
    pub fn chance(&mut self, chance: u64) -> bool {
        self.below(1_000) < chance
    }
}

#[derive(Debug)]
struct World {
    dice: Dice,
    faults: Faults,
    partitions: u32,
    now: Timestamp,
    away: bool,
    /// Rises at a restart: readers of before are gone.
    life: u64,
    logs: BTreeMap<(Topic, u32), Log>,
    committed: HashMap<(String, Topic, u32), u64>,
    members: HashMap<String, Vec<u64>>,
    next_member: u64,
    snapshots: BTreeMap<(String, u32, String), Snapshot>,
}

#[derive(Debug, Default)]
struct Log {
    end: u64,
    records: Vec<Record>,
}

/// The bus of tests. Clones share the world.
#[derive(Clone, Debug)]
pub struct MemoryBus(Arc<(Mutex<World>, Condvar)>);

impl MemoryBus {
    /// A world with `partitions` per topic, at time zero.
    pub fn new(seed: u64, partitions: u32, faults: Faults) -> Self {
        let world = World {
            dice: Dice::new(seed),
            faults,
            partitions: partitions.max(1),
            now: Timestamp(1),
            away: false,
            life: 0,
            logs: BTreeMap::new(),
            committed: HashMap::new(),
            members: HashMap::new(),
            next_member: 0,
            snapshots: BTreeMap::new(),
        };
        Self(Arc::new((Mutex::new(world), Condvar::new())))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the clock; it never goes back.
    pub fn set_now(&self, now: Timestamp) {
        let mut world = self.world();
        world.now = world.now.max(now);
    }

    /// Takes the bus away, or brings it back.
    pub fn set_away(&self, away: bool) {
        self.world().away = away;
    }

    /// All readers and group members are gone; what was appended, committed and saved stays.
    pub fn restart(&self) {
        let mut world = self.world();
        world.life += 1;
        world.members.clear();
    }

    /// Runs retention and compaction as of the clock.
    pub fn expire(&self) -> u64 {
        let mut world = self.world();
        let now = world.now;
        let mut gone = 0;
        for ((topic, _), log) in &mut world.logs {
            let before = log.records.len();
            match topic.retention() {
                Retention::For(age) => log.records.retain(|record| record.appended >= now - age),
                Retention::Compacted => {
                    let newest: HashMap<String, u64> =
                        log.records.iter().map(|record| (record.key.clone(), record.offset)).collect();
                    log.records.retain(|record| newest[&record.key] == record.offset);
                }
            }
            gone += before - log.records.len();
        }
        gone as u64
    }
}

impl World {
    fn append(&mut self, record: NewRecord) -> Landed {
        let partition = partition_of(&record.partition_key, self.partitions);
        let log = self.logs.entry((record.topic, partition)).or_default();
        let landed = Landed { partition, offset: log.end, appended: self.now };
        log.records.push(record.stored(partition, log.end, self.now));
        log.end += 1;
        landed
    }

    fn end(&self, topic: Topic, partition: u32) -> u64 {
        self.logs.get(&(topic, partition)).map_or(0, |log| log.end)
    }
}

impl Bus for MemoryBus {
    fn append(&self, records: Vec<NewRecord>) -> Receipt {
        let (reply, receipt) = Receipt::pending();
        let mut world = self.world();
        let answer = (|| {
            if world.away {
                return Err(Error::Unavailable("the broker is away".to_owned()));
            }
            if let Some(error) = records.iter().find_map(too_large) {
                return Err(error);
            }
            let mut places = Vec::new();
            for record in records {
                let Faults { duplicate, .. } = world.faults;
                let place = world.append(record.clone());
                if world.dice.chance(duplicate) {
                    world.append(record);
                }
                places.push(place);
            }
            let Faults { lost_answer, .. } = world.faults;
            if world.dice.chance(lost_answer) {
                return Err(Error::Unavailable("the answer was lost".to_owned()));
            }
            Ok(places)
        })();
        drop(world);
        self.0.1.notify_all();
        let _ = reply.send(answer);
        receipt
    }

    fn reader(&self, assignment: Assignment) -> Result<Box<dyn Reader>, Error> {
        let mut world = self.world();
        let mut positions = BTreeMap::new();
        let mut group = None;
        match assignment {
            Assignment::Manual(topics) => {
                for (topic, from) in topics {
                    for partition in 0..world.partitions {
                        let next = from.offset_of(partition).unwrap_or_else(|| world.end(topic, partition));
                        positions.insert((topic, partition), (next, false));
                    }
                }
            }
            Assignment::Group { group: name, topics } => {
                world.next_member += 1;
                let member = world.next_member;
                world.members.entry(name.clone()).or_default().push(member);
                for topic in topics {
                    for partition in 0..world.partitions {
                        positions.insert((topic, partition), (0, false));
                    }
                }
                group = Some((name, Some(member)));
            }
            Assignment::Own { name, topics } => {
                let partitions = world.partitions;
                let all = topics.into_iter().flat_map(|topic| (0..partitions).map(move |at| ((topic, at), (0, false))));
                positions.extend(all);
                group = Some((name, None));
            }
        }
        Ok(Box::new(MemoryReader { bus: self.clone(), life: world.life, positions, group }))
    }

    fn partitions(&self, _: Topic) -> Result<u32, Error> {
        Ok(self.world().partitions)
    }

    fn ends(&self, topic: Topic) -> Result<Vec<u64>, Error> {
        let world = self.world();
        Ok((0..world.partitions).map(|partition| world.end(topic, partition)).collect())
    }

    fn save(&self, snapshots: Vec<Snapshot>) -> Result<(), Error> {
        let mut world = self.world();
        if world.away {
            return Err(Error::Unavailable("the broker is away".to_owned()));
        }
        for snapshot in snapshots {
            let key = (snapshot.processor.clone(), snapshot.partition, snapshot.entity.clone());
            world.snapshots.insert(key, snapshot);
        }
        Ok(())
    }

    fn load(&self, processor: &str) -> Result<Vec<Snapshot>, Error> {
        Ok(self.world().snapshots.values().filter(|snapshot| snapshot.processor == processor).cloned().collect())
    }
}

struct MemoryReader {
    bus: MemoryBus,
    life: u64,
    /// (next offset, held) per partition.
    positions: BTreeMap<(Topic, u32), (u64, bool)>,
    /// Under which name positions are committed, and the member's number among those that share.
    group: Option<(String, Option<u64>)>,
}

impl MemoryReader {
    /// What changed and what has come. Partitions are visited in a seeded order, so that nobody relies on one.
    fn look(&mut self, world: &mut World) -> Result<Vec<Polled>, Error> {
        if world.life != self.life {
            return Err(Error::Unavailable("the bus was restarted".to_owned()));
        }
        if world.away {
            return Err(Error::Unavailable("the broker is away".to_owned()));
        }
        let mut out = Vec::new();
        let mut partitions: Vec<(Topic, u32)> = self.positions.keys().copied().collect();
        let turn = world.dice.below(partitions.len().max(1) as u64) as usize;
        partitions.rotate_left(turn);
        for (topic, partition) in partitions {
            let (next, held) = self.positions[&(topic, partition)];
            let mine = self.is_mine(world, partition);
            if mine && !held {
                let next = self.first(world, topic, partition, next);
                self.positions.insert((topic, partition), (next, true));
                out.push(Polled::Gained { topic, partition, next });
            } else if !mine && held {
                self.positions.insert((topic, partition), (0, false));
                out.push(Polled::Lost { topic, partition });
            }
            if !mine {
                continue;
            }
            let next = self.positions[&(topic, partition)].0;
            let Some(log) = world.logs.get(&(topic, partition)) else { continue };
            let from = log.records.partition_point(|record| record.offset < next);
            let mut fresh = log.records[from..].to_vec();
            let Faults { late, .. } = world.faults;
            if !fresh.is_empty() && world.dice.chance(late) {
                fresh.truncate(world.dice.below(fresh.len() as u64) as usize);
            }
            if let Some(last) = fresh.last() {
                self.positions.insert((topic, partition), (last.offset + 1, true));
            }
            out.extend(fresh.into_iter().map(Polled::Record));
        }
        Ok(out)
    }

    fn is_mine(&self, world: &World, partition: u32) -> bool {
        let Some((group, Some(member))) = &self.group else { return true };
        let members = world.members.get(group).map_or(&[][..], Vec::as_slice);
        !members.is_empty() && members[partition as usize % members.len()] == *member
    }

    fn first(&self, world: &World, topic: Topic, partition: u32, next: u64) -> u64 {
        match &self.group {
            Some((group, _)) => world.committed.get(&(group.clone(), topic, partition)).copied().unwrap_or(0),
            None => next,
        }
    }
}

impl Reader for MemoryReader {
    fn poll(&mut self, wait: Duration) -> Result<Vec<Polled>, Error> {
        let bus = self.bus.clone();
        let mut world = bus.world();
        let polled = self.look(&mut world)?;
        if !polled.is_empty() || wait.is_zero() {
            return Ok(polled);
        }
        let (mut world, _) = bus.0.1.wait_timeout(world, wait).unwrap_or_else(PoisonError::into_inner);
        self.look(&mut world)
    }

    fn commit(&mut self, topic: Topic, partition: u32, next: u64) -> Result<(), Error> {
        let mut world = self.bus.world();
        if world.away || world.life != self.life {
            return Err(Error::Unavailable("the broker is away".to_owned()));
        }
        if let Some((group, _)) = &self.group {
            world.committed.insert((group.clone(), topic, partition), next);
        }
        Ok(())
    }

    fn unread(&mut self) -> Result<BTreeSet<u32>, Error> {
        let world = self.bus.world();
        let held = self.positions.iter().filter(|(_, (_, held))| *held);
        let more = held.filter(|((topic, partition), (next, _))| *next < world.end(*topic, *partition));
        Ok(more.map(|((_, partition), _)| *partition).collect())
    }
}

impl Drop for MemoryReader {
    fn drop(&mut self) {
        if let Some((group, Some(member))) = &self.group {
            let mut world = self.bus.world();
            if let Some(members) = world.members.get_mut(group) {
                members.retain(|other| other != member);
            }
        }
    }
}
