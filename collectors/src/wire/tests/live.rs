//! Real packets of the loopback interface, to a server that answers whatever it is asked: each statement is there once, also those
//! that came while the capture opened, and the kernel hands over each packet once.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use millrace_schemas::digest::Syntax;
use millrace_schemas::ids::InstanceId;

use super::script::{ok, packet, query};
use crate::wire::{Batch, Books, CaptureError, Decoder, Live, Server, Watched, can_capture, run};

const LOOPBACK: &str = "lo";
const CONNECTIONS: usize = 4;
/// Statements of each connection: some thousand packets, beside which a block of the kernel's buffer is small.
const STATEMENTS: usize = 500;
/// How often other servers are watched, and how long each time: longer than two captures are read for one change.
const CHANGES: u16 = 20;
const BETWEEN_CHANGES: Duration = Duration::from_millis(100);
/// 200 us: some thousand statements a second, which a test build decodes with ease.
const PAUSE: Duration = Duration::from_micros(200);
/// Only a failure takes so long.
const PATIENCE: Duration = Duration::from_mins(1);
/// Two seconds close, and what was counted and what was read is the same.
const SILENCE: Duration = Duration::from_millis(2_500);

/// Reads a packet, and says whether there was one.
fn next(stream: &mut TcpStream) -> bool {
    let mut header = [0; 4];
    if stream.read_exact(&mut header).is_err() {
        return false;
    }
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
    stream.read_exact(&mut vec![0; length as usize]).is_ok()
}

/// A server that says OK to everything, until its clients have gone.
fn server() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                stream.set_nodelay(true).expect("settable");
                while next(&mut stream) && stream.write_all(&packet(1, &ok(0, false))).is_ok() {}
            });
        }
    });
    address
}

/// A connection that had begun before the capture, as those are whose clients say nothing of themselves here.
struct Client {
    stream: TcpStream,
    number: usize,
    asked: usize,
}

impl Client {
    fn ask(&mut self) {
        let text = format!("select {} as connection, {} as statement", self.number, self.asked);
        self.asked += 1;
        self.stream.write_all(&query(text.as_bytes())).expect("it listens");
        assert!(next(&mut self.stream), "it answers");
    }
}

/// A server with a name.
fn named(name: &str, port: u16) -> Server {
    Server { address: None, port, instance: InstanceId::parse(name).expect("an id"), syntax: Syntax::default() }
}

fn clients(address: SocketAddr) -> Vec<Client> {
    let client = |number| {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("settable");
        Client { stream, number, asked: 0 }
    };
    (0..CONNECTIONS).map(client).collect()
}

/// Each statement of each client from the first that was seen on is there, more than so many, once and in its order, and no byte was missed.
fn check_whole(clients: &[Client], at_least: usize, (seen, books): &(BTreeMap<usize, Vec<usize>>, Books)) {
    for client in clients {
        let numbers = &seen[&client.number];
        let expected: Vec<usize> = (numbers[0]..client.asked).collect();
        assert!(expected.len() > at_least, "connection {} was seen late", client.number);
        let lost: Vec<_> = expected.iter().filter(|number| !numbers.contains(number)).collect();
        assert!(numbers == &expected, "connection {}: {lost:?} of {} are lost", client.number, expected.len());
    }
    assert_eq!((books.missing, books.holes, books.undecodable), (0, 0, 0), "{books:?}");
    assert!(books.balance());
}

/// A capture in a thread of its own.
struct Captured {
    stop: Arc<AtomicBool>,
    batches: Receiver<Batch>,
    thread: JoinHandle<Result<(), CaptureError>>,
    books: Books,
    received: u64,
    /// The numbers of the statements of each connection, as they came.
    seen: BTreeMap<usize, Vec<usize>>,
}

impl Captured {
    fn start(watched: &Watched) -> Self {
        let (stop, watched) = (Arc::new(AtomicBool::new(false)), watched.clone());
        let (stopped, (send, batches)) = (Arc::clone(&stop), channel());
        let thread = std::thread::spawn(move || {
            let live = Live { interface: LOOPBACK.to_owned(), threads: 1 };
            let decoder = || {
                let mut decoder = Decoder::new(&[]);
                decoder.keep_ended();
                decoder
            };
            run(&live, decoder, &watched, &stopped, |batch| send.send(batch).is_ok())
        });
        Captured { stop, batches, thread, books: Books::default(), received: 0, seen: BTreeMap::new() }
    }

    fn take(&mut self, batch: &Batch) {
        self.books.add(&batch.books);
        self.received += batch.kernel.received;
        for ended in &batch.ended {
            let sql = String::from_utf8_lossy(ended.sql.as_deref().expect("it has a text")).into_owned();
            let mut numbers = sql.split(' ').filter_map(|word| word.trim_end_matches(',').parse().ok());
            let (connection, statement) =
                (numbers.next().expect("its connection"), numbers.next().expect("its number"));
            self.seen.entry(connection).or_default().push(statement);
        }
    }

    /// What came until this holds of the statements that were seen.
    fn until(&mut self, holds: impl Fn(&BTreeMap<usize, Vec<usize>>) -> bool) {
        let began = Instant::now();
        while !holds(&self.seen) {
            let last: Vec<_> = self.seen.iter().map(|(number, seen)| (number, seen.len(), seen.last())).collect();
            assert!(began.elapsed() < PATIENCE, "not all is seen: {last:?} of {:?}", self.books);
            let batch = self.batches.recv_timeout(PATIENCE).expect("it captures");
            self.take(&batch);
        }
    }

    /// Something of so many connections.
    fn until_seen(&mut self, connections: usize) {
        self.until(|seen| seen.len() == connections);
    }

    /// The last statement of each client.
    fn until_last(&mut self, clients: &[Client]) {
        self.until(|seen| clients.iter().all(|client| seen[&client.number].last() == Some(&(client.asked - 1))));
    }

    /// What comes while nobody says anything.
    fn until_silent(&mut self) {
        std::thread::sleep(SILENCE);
        while let Ok(batch) = self.batches.try_recv() {
            self.take(&batch);
        }
    }

    /// What it saw in all.
    fn end(mut self) -> (BTreeMap<usize, Vec<usize>>, Books) {
        self.stop.store(true, Ordering::Relaxed);
        while let Ok(batch) = self.batches.recv_timeout(PATIENCE) {
            self.take(&batch);
        }
        self.thread.join().expect("no panic").expect("it captured");
        (self.seen, self.books)
    }
}

/// Clients that ask, with a pause behind each answer, each until it has asked so many after it was told that the capture runs.
fn flowing(clients: Vec<Client>, pause: Duration, runs: &Arc<AtomicBool>) -> Vec<JoinHandle<Client>> {
    let flow = |mut client: Client| {
        let runs = Arc::clone(runs);
        std::thread::spawn(move || {
            while !runs.load(Ordering::Relaxed) {
                client.ask();
                std::thread::sleep(pause);
            }
            (0..STATEMENTS).for_each(|_| client.ask());
            client
        })
    };
    clients.into_iter().map(flow).collect()
}

#[test]
fn every_packet_of_loopback_is_taken_once() {
    if let Err(why) = can_capture(LOOPBACK) {
        return eprintln!("left out: {why}");
    }
    let address = server();
    // Packets flow while it opens.
    let runs = Arc::new(AtomicBool::new(false));
    let flowing = flowing(clients(address), Duration::ZERO, &runs);
    let mut captured = Captured::start(&Watched::new(vec![named("db-1", address.port())]));
    captured.until_seen(CONNECTIONS);
    runs.store(true, Ordering::Relaxed);
    let mut clients: Vec<Client> = flowing.into_iter().map(|client| client.join().expect("answered")).collect();
    captured.until_last(&clients);
    captured.until_silent();
    // Each packet passes the kernel's filter once, though it goes out and comes in.
    let (received, frames) = (captured.received, captured.books.frames);
    for _ in 0..STATEMENTS {
        clients.iter_mut().for_each(Client::ask);
    }
    captured.until_last(&clients);
    captured.until_silent();
    let packets = captured.books.frames - frames;
    assert!(packets >= (2 * STATEMENTS * CONNECTIONS) as u64, "a request and an answer each: {packets}");
    assert_eq!(captured.received - received, packets);
    // A busy machine sends some again; those are no second copies.
    check_whole(&clients, 2 * STATEMENTS, &captured.end());
}

#[test]
fn no_packet_is_lost_or_taken_twice_when_other_servers_are_watched() {
    if let Err(why) = can_capture(LOOPBACK) {
        return eprintln!("left out: {why}");
    }
    let address = server();
    let runs = Arc::new(AtomicBool::new(false));
    let flowing = flowing(clients(address), PAUSE, &runs);
    let here = named("db-1", address.port());
    let watched = Watched::new(vec![here.clone()]);
    let mut captured = Captured::start(&watched);
    captured.until_seen(CONNECTIONS);
    for at in 0..CHANGES {
        let other = named("db-2", 50_000 + at);
        watched.set(if at % 2 == 0 { vec![here.clone(), other] } else { vec![here.clone()] });
        std::thread::sleep(BETWEEN_CHANGES);
    }
    runs.store(true, Ordering::Relaxed);
    let clients: Vec<Client> = flowing.into_iter().map(|client| client.join().expect("answered")).collect();
    captured.until_last(&clients);
    captured.until_silent();
    let told = captured.end();
    check_whole(&clients, STATEMENTS, &told);
    // A busy machine sends some again, but not one for each change.
    assert!(told.1.segments_duplicate < u64::from(CHANGES) / 2, "{:?}", told.1);
}
