//! The bus of another process, in front of the local one: what it adds is a way there that can break anywhere.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millrace::bus::http::{self, HttpBus, Token};
use millrace::bus::local::LocalBus;
use millrace::bus::{Assignment, Bus as _, Error, From, Polled, SharedBus};
use millrace_schemas::metrics::{BUS_REFUSED, Registry};
use millrace_schemas::topics::Topic;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::{Lab, LocalLab, append, plain, poll_until, records, text};

/// The owner: a local bus that is served, and can be stopped and started again at the same address.
pub(super) struct HttpLab {
    owner: LocalLab,
    address: SocketAddr,
    token: PathBuf,
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
    client: HttpBus,
}

impl HttpLab {
    pub(super) fn new() -> Self {
        let owner = LocalLab::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let token = owner.path.with_extension("token");
        Token::read_or_make(&token).expect("made");
        let client = HttpBus::new(address, &token).expect("a client");
        let mut lab = Self { owner, address, token, runtime: None, stop: watch::channel(false).0, client };
        lab.serve(listener);
        lab
    }

    fn serve(&mut self, listener: TcpListener) {
        listener.set_nonblocking(true).expect("a socket");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let (bus, token) = (self.owner.bus(), Token::read(&self.token).expect("there"));
        self.stop = watch::channel(false).0;
        let stop = self.stop.subscribe();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            http::serve(bus, listener, token, stop).await.expect("served");
        });
        self.runtime = Some(runtime);
    }

    /// Takes the owner away, with everything that it knew of readers.
    fn end(&mut self) {
        self.stop.send_replace(true);
        self.runtime.take().expect("it runs").shutdown_timeout(Duration::from_secs(10));
    }

    fn begin(&mut self) {
        self.serve(TcpListener::bind(self.address).expect("its own port"));
    }
}

impl Lab for HttpLab {
    fn bus(&self) -> SharedBus {
        Arc::new(self.client.clone())
    }

    fn restart(&mut self) {
        self.end();
        self.owner.restart();
        self.begin();
    }

    fn away(&mut self, away: bool) -> bool {
        if away {
            self.end();
        } else {
            self.begin();
        }
        true
    }

    fn expire(&self, later: Duration) -> u64 {
        self.owner.expire(later)
    }

    fn is_exact(&self) -> bool {
        true
    }
}

fn journal(bus: &SharedBus) -> Box<dyn millrace::bus::Reader> {
    bus.reader(Assignment::Manual(vec![(Topic::Journal, From::Start)])).expect("a reader")
}

#[test]
fn who_does_not_show_the_token_is_refused_and_told_why() {
    let lab = HttpLab::new();
    let other = lab.token.with_extension("other");
    Token::read_or_make(&other).expect("made");
    let metrics = Arc::new(Registry::new());
    let stranger = HttpBus::counted(lab.address, &other, Arc::clone(&metrics)).expect("a client");
    let error = stranger.ping().expect_err("a wrong token");
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains(&other.display().to_string()), "{error}");
    let refused = stranger.append(vec![plain(Topic::Journal, "a", "forged")]).wait();
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    assert_eq!(lab.bus().end(Topic::Journal, 0), Ok(0), "nothing of it was appended");
    assert_eq!(metrics.get(&BUS_REFUSED, &["journal"]) as u64, 1, "nor forgotten");
}

#[test]
fn a_token_that_is_not_there_yet_is_waited_for() {
    let lab = HttpLab::new();
    let late = lab.token.with_extension("late");
    let early = HttpBus::new(lab.address, &late).expect("a client");
    let error = early.ping().expect_err("no token yet");
    assert!(matches!(&error, Error::Unavailable(why) if why.contains("bus.late")), "{error:?}");
    std::fs::copy(&lab.token, &late).expect("copied");
    early.ping().expect("the token is there now");
    // The owner made another one, as when its folder was set up anew.
    std::fs::remove_file(&late).expect("removed");
    Token::read_or_make(&late).expect("made");
    early.ping().expect("what was read last is shown until it is refused");
    let stranger = HttpBus::new(lab.address, &late).expect("a client");
    assert!(matches!(stranger.ping(), Err(Error::Refused { .. })));
    std::fs::copy(&lab.token, &late).expect("copied");
    stranger.ping().expect("after a refusal the file is read again");
}

#[test]
fn what_is_no_request_is_answered_and_harms_nothing() {
    let lab = HttpLab::new();
    let token = std::fs::read_to_string(&lab.token).expect("there");
    let body = "what is this";
    let mut raw = TcpStream::connect(lab.address).expect("a connection");
    let head = format!("POST /bus/v2 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n", token.trim());
    write!(raw, "{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).expect("sent");
    let mut answer = String::new();
    raw.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    append(&lab.bus(), &[plain(Topic::Journal, "a", "x")]);
}

#[test]
fn a_reader_outlives_its_owner_and_goes_on_where_it_stood() {
    let mut lab = HttpLab::new();
    let bus = lab.bus();
    append(&bus, &[plain(Topic::Journal, "a", "0"), plain(Topic::Journal, "a", "1")]);
    let mut reader = journal(&bus);
    assert_eq!(texts(&poll_until(reader.as_mut(), |items| records(items).len() == 2)), ["0", "1"]);
    lab.end();
    let away = reader.poll(Duration::ZERO).expect_err("nobody is there");
    assert!(matches!(&away, Error::Unavailable(why) if why.contains(&lab.address.to_string())), "{away}");
    let refused = bus.append(vec![plain(Topic::Journal, "a", "lost")]).wait();
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    lab.begin();
    append(&bus, &[plain(Topic::Journal, "a", "2")]);
    let mut seen = Vec::new();
    for _ in 0..1_000 {
        seen.extend(reader.poll(Duration::from_millis(20)).unwrap_or_default());
        if !records(&seen).is_empty() {
            break;
        }
    }
    assert_eq!(texts(&seen), ["2"], "neither again nor left out");
}

fn texts(items: &[Polled]) -> Vec<String> {
    records(items).iter().map(text).collect()
}

/// A way to the owner that loses answers, and can be closed.
struct Cutting {
    address: SocketAddr,
    cuts: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cutting {
    /// Every `nth` answer of a connection is lost with it; none when that is 0.
    fn new(owner: SocketAddr, nth: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let way = Self { address, cuts: Arc::default(), over: Arc::default(), open: Arc::default() };
        let (cuts, over, open) = (Arc::clone(&way.cuts), Arc::clone(&way.over), Arc::clone(&way.open));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(server) = TcpStream::connect(owner) else { continue };
                let both = [client.try_clone().expect("a socket"), server.try_clone().expect("a socket")];
                open.lock().expect("sockets").extend(both);
                let cuts = Arc::clone(&cuts);
                std::thread::spawn(move || carry(client, server, nth, &cuts));
            }
        });
        way
    }

    /// Ends every connection and takes no new one.
    fn close(&self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        for socket in self.open.lock().expect("sockets").drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Cutting {
    fn drop(&mut self) {
        self.close();
    }
}

/// Carries requests whole, and answers as long as none is due to be lost.
fn carry(mut client: TcpStream, mut server: TcpStream, nth: u64, cuts: &AtomicU64) {
    let (mut from, mut to) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; 64 << 10];
    let mut answered = 0_u64;
    while let Ok(bytes @ 1..) = server.read(&mut buffer) {
        answered += 1;
        if nth > 0 && answered.is_multiple_of(nth) {
            cuts.fetch_add(1, Ordering::Relaxed);
            break;
        }
        if client.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

#[test]
fn answers_that_are_lost_on_the_way_lose_no_record() {
    let lab = HttpLab::new();
    let way = Cutting::new(lab.address, 3);
    let bus: SharedBus = Arc::new(HttpBus::new(way.address, &lab.token).expect("a client"));
    let mut reader = (0..100).find_map(|_| bus.reader(Assignment::Manual(vec![(Topic::Journal, From::Start)])).ok());
    let reader = reader.as_mut().expect("one of a hundred tries gets through");
    let mut seen = Vec::new();
    for number in 0..60 {
        append(&bus, &[plain(Topic::Journal, "a", &number.to_string())]);
        seen.extend(reader.poll(Duration::from_millis(5)).unwrap_or_default());
    }
    for _ in 0..1_000 {
        seen.extend(reader.poll(Duration::from_millis(5)).unwrap_or_default());
        if records(&seen).last().is_some_and(|record| text(record) == "59") {
            break;
        }
    }
    let mut fresh = texts(&seen);
    fresh.dedup();
    // Appends are at least once, so a number may be there again; in order, and none is missing.
    let mut missing: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    missing.retain(|number| !fresh.contains(number));
    assert_eq!(missing, Vec::<String>::new());
    assert!(way.cuts.load(Ordering::Relaxed) > 10, "the way hardly cuts anything");
}

#[test]
fn a_process_that_ends_leaves_its_groups_at_once() {
    // A frozen process keeps them for ten seconds. Slow cores may make one try look like that, not five.
    let took: Vec<Duration> = (0..5).map(|_| until_the_group_goes_on()).collect();
    assert!(took.iter().any(|took| *took < Duration::from_secs(5)), "{took:?}");
}

fn until_the_group_goes_on() -> Duration {
    let lab = HttpLab::new();
    let way = Cutting::new(lab.address, 0);
    let group = || Assignment::Group { group: "g".to_owned(), topics: vec![Topic::Actions] };
    let other = HttpBus::new(way.address, &lab.token).expect("a client");
    let mut first = other.reader(group()).expect("a member");
    let held = poll_until(first.as_mut(), |items| !items.is_empty());
    assert!(matches!(held[0], Polled::Gained { .. }), "{held:?}");
    let mut second = lab.bus().reader(group()).expect("a member");
    assert_eq!(second.poll(Duration::ZERO).expect("there"), [], "the first one holds it");
    std::thread::sleep(Duration::from_millis(50));
    // Nothing of its process is heard any more, and it had no time to say so.
    let began = Instant::now();
    way.close();
    let gained = poll_until(second.as_mut(), |items| !items.is_empty());
    assert!(matches!(gained[0], Polled::Gained { .. }), "{gained:?}");
    began.elapsed()
}

#[test]
fn a_file_that_is_open_elsewhere_can_be_reached_there() {
    let lab = HttpLab::new();
    assert!(matches!(LocalBus::open(&lab.owner.path, Arc::default()), Err(Error::OpenElsewhere { .. })));
    lab.client.ping().expect("it answers");
}
