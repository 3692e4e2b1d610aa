//! A host of its own for tests: a network namespace with a link to the brokers, which can be cut, and another one to the servers
//! of other hosts. In: nothing; it takes root, and a kernel and tools that give namespaces. Out: addresses, and processes that
//! run there. What is sent over a cut link vanishes: nobody is told, neither by a reset nor by a link that is down.
//! It goes with the last process in it, and the one that holds it ends with this one: nothing is left behind.

use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::ports::{Port, free_port};
use crate::{LOOK_EVERY, WAIT_MAX, parent};

/// 198.18.0.0/15 is set aside for tests of networks: no real host is there. Each island takes eight addresses of it.
const NET: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// The first number that [`free_port`] gives.
const NUMBERS_FROM: u32 = 21_000;
/// Who is at the ends of a link, outside and on the island, and who never is anywhere. The 2 says that no factory gave them out.
const OUTSIDE: &str = "02:00:00:00:00:01";
const INSIDE: &str = "02:00:00:00:00:02";
const NOBODY: &str = "02:00:00:00:00:03";

/// A network namespace, with two links to the one of this process.
#[derive(Debug)]
pub struct Island {
    holder: Child,
    /// Its number among all islands of this machine: names and addresses come from it.
    number: Port,
}

/// A link: the letter that its ends are called by.
#[derive(Clone, Copy, Debug)]
enum Link {
    Brokers,
    Servers,
}

impl Link {
    fn letter(self) -> char {
        match self {
            Self::Brokers => 'b',
            Self::Servers => 's',
        }
    }
}

impl Island {
    /// Makes one; or says why there can be none here.
    pub fn new() -> Result<Self, String> {
        let island = Self { holder: apart()?, number: free_port() };
        for link in [Link::Brokers, Link::Servers] {
            let (ours, letter, pid) = (island.outer(link), link.letter(), island.holder.id());
            run(
                &["ip"],
                &format!("link add {ours} address {OUTSIDE} type veth peer name {letter} address {INSIDE} netns {pid}"),
            )?;
        }
        // From here on nothing is missing: what fails is an error.
        for link in [Link::Brokers, Link::Servers] {
            let (outside, inside) = island.ends(link);
            let (ours, theirs) = (island.outer(link), link.letter());
            here(&format!("addr add {outside}/30 dev {ours}"));
            here(&format!("link set dev {ours} up"));
            island.there(&format!("addr add {inside}/30 dev {theirs}"));
            island.there(&format!("link set dev {theirs} up"));
        }
        island.there("link set dev lo up");
        Ok(island)
    }

    /// What the link to servers is called on our side: whoever captures here gives that name.
    pub fn link_to_servers(&self) -> String {
        self.outer(Link::Servers)
    }

    /// What our end of a link is called.
    fn outer(&self, link: Link) -> String {
        format!("mr{}{}", self.number.number, link.letter())
    }

    /// The addresses of a link: ours, and that of the island.
    fn ends(&self, link: Link) -> (Ipv4Addr, Ipv4Addr) {
        let first = NET
            + (u32::from(self.number.number) - NUMBERS_FROM) * 8
            + if matches!(link, Link::Brokers) { 0 } else { 4 };
        (Ipv4Addr::from(first + 1), Ipv4Addr::from(first + 2))
    }

    /// Where who lives there finds what this process listens on; the link that can be cut leads there.
    pub fn way_to_brokers(&self) -> Ipv4Addr {
        self.ends(Link::Brokers).0
    }

    /// Where others find servers on the island.
    pub fn address(&self) -> Ipv4Addr {
        self.ends(Link::Servers).1
    }

    /// Where the island's servers find those of the others.
    pub fn way_to_servers(&self) -> Ipv4Addr {
        self.ends(Link::Servers).0
    }

    /// `command`, to be run on the island. Its process id is that of the command itself.
    pub fn enter(&self, command: &Command) -> Command {
        let mut entered = Command::new("nsenter");
        entered.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).arg("--").arg(command.get_program());
        entered.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entered.env(name, value),
                None => entered.env_remove(name),
            };
        }
        entered
    }

    /// Puts a bridge before the island's end of the link to servers, as a host of containers has one: what goes over the link crosses
    /// two interfaces of the island then.
    pub fn bridge(&self) {
        let (letter, inside) = (Link::Servers.letter(), self.ends(Link::Servers).1);
        self.there("link add bridge type bridge");
        self.there(&format!("addr del {inside}/30 dev {letter}"));
        self.there(&format!("link set dev {letter} master bridge"));
        self.there(&format!("addr add {inside}/30 dev bridge"));
        self.there("link set dev bridge up");
    }

    /// What a thread does that is on the island; it must open its connections there itself.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
        let net = std::fs::File::open(format!("/proc/{}/ns/net", self.holder.id())).expect("the island is there");
        std::thread::spawn(move || {
            rustix::thread::move_into_link_name_space(net.as_fd(), None).expect("root may go there");
            work()
        })
    }

    /// Cuts the link to the brokers. Both ends are up and send to a station that is not there: a link set down would be noticed,
    /// and what is sent over it would fail at once or take another way.
    pub fn cut(&self) {
        self.neighbours(NOBODY, NOBODY);
    }

    /// Makes it whole again.
    pub fn heal(&self) {
        self.neighbours(INSIDE, OUTSIDE);
    }

    fn neighbours(&self, theirs: &str, ours: &str) {
        let (outside, inside) = self.ends(Link::Brokers);
        here(&format!("neigh replace {inside} lladdr {theirs} nud permanent dev {}", self.outer(Link::Brokers)));
        self.there(&format!("neigh replace {outside} lladdr {ours} nud permanent dev {}", Link::Brokers.letter()));
    }

    fn there(&self, words: &str) {
        let net = format!("--net=/proc/{}/ns/net", self.holder.id());
        run(&["nsenter", &net, "--", "ip"], words).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A process in a network namespace of its own, which is there as long as this one.
fn apart() -> Result<Child, String> {
    let mut hold = Command::new("setpriv");
    hold.args(["--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"]);
    hold.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut holder = parent::start(hold).map_err(|error| format!("setpriv, of util-linux: {error}"))?;
    let net = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let (pid, start) = (holder.id().to_string(), Instant::now());
    while net(&pid).is_none_or(|its| Some(its) == net("self")) {
        if let Ok(Some(status)) = holder.try_wait() {
            let told = holder.stderr.take().and_then(|told| std::io::read_to_string(told).ok());
            return Err(format!("unshare --net ended with {status}: {}", told.unwrap_or_default().trim_end()));
        }
        assert!(start.elapsed() < WAIT_MAX, "unshare --net does not come to it");
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(holder)
}

impl Drop for Island {
    fn drop(&mut self) {
        // Whatever else was started there has ended by now, or the test has failed and says so.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn here(words: &str) {
    run(&["ip"], words).unwrap_or_else(|error| panic!("{error}"));
}

fn run(program: &[&str], words: &str) -> Result<(), String> {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(words.split(' ')).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("{}, of iproute2 or util-linux: {error}", program[0]))?;
    let told = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{} {words}: {}", program.join(" "), told.trim_end())) }
}

#[cfg(test)]
mod tests;
