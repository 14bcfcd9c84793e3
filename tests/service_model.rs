//! Random sequences of requests by two clients against the whole service: restores in chunks, some of them under way at the
//! same time, zero, split, clear, cancel, rows that another process writes, malformed requests, kills and restarts. After
//! every step the database and the backup that is served must be what the model says. `METERD_SEQUENCES` sets how many
//! sequences there are, `METERD_SEED` repeats one.

#[path = "bench/meter.rs"]
#[allow(dead_code)] // The benchmark needs more of it.
mod meter;
#[allow(dead_code)] // So does the test of the database alone.
mod model;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meter::Meter;
use meterd::drivers::register_db::append::append;
use meterd::drivers::register_db::schema;
use model::cases::{CLUSTERS, Rng, chunks, pack, subset, to_samples};
use model::compare::compare;
use model::{Chunk, Model};
use rusqlite::{Connection, TransactionBehavior};
use serde_json::{Value, json};

const SEQUENCES: u64 = 3;
const STEPS: usize = 14;
/// Operations that are left to run at the same time; the service lets eight wait.
const UNDER_WAY: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);
/// What no client should send, and whether it counts as a chunk that was not taken.
const MALFORMED: [(&str, &str, bool); 14] = [
    ("/cmd/db", "{", true),
    ("/cmd/db", r#"{"action":"restore"}"#, true),
    ("/cmd/db", r#"{"action":"restore","data":"*"}"#, true),
    ("/cmd/db", r#"{"action":"restore","data":"bWV0ZXJkLWJhY2t1cCwyCg=="}"#, true),
    ("/cmd/db", r#"{"action":"restore","data":"H4sIAAAA"}"#, true),
    ("/cmd/db", r#"{"action":"zero","form":"1"}"#, true),
    ("/cmd/db", r#"{"action":"zero","from":"1e9"}"#, true),
    ("/cmd/db", r#"{"action":"zero","regs":[99]}"#, false),
    ("/cmd/db", r#"{"action":"split","regs":[2,2]}"#, false),
    ("/cmd/clear", r#""everything""#, false),
    ("/cmd/cancel", r#"{"token":"00000000000000000000000000000000"}"#, false),
    ("/cmd/nothing", "{}", false),
    ("/cmd/set-time", r#""yesterday""#, false),
    ("/cmd/db?chunk=1", r#"{"action":"zero"}"#, false),
];

/// An operation under way, and what it will have done.
struct Pending {
    token: String,
    body: String,
    effect: Option<(Chunk, bool)>,
}

struct World {
    rng: Rng,
    state: PathBuf,
    /// The service; nothing only while it is started anew.
    meter: Option<Meter>,
    /// The process that records energy.
    writer: Connection,
    logins: [String; 2],
    model: Model,
    pending: Vec<Pending>,
    /// The columns of the open chain.
    chain: Option<Vec<usize>>,
    /// A chunk of it was not taken.
    broken: bool,
    /// The restore that would be recognised if it came again.
    youngest: Option<String>,
    /// Something that was refused stands in the journal behind it.
    overlaid: bool,
    steps: Vec<String>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng(seed);
        let state = meter::folder(&format!("sequence-{seed}")).join("state");
        std::fs::create_dir_all(&state).unwrap();
        let mut writer = schema::open(&state.join("meter.db")).unwrap();
        let mut model = Model::default();
        let tx = writer.transaction().unwrap();
        for (name, discrete) in [("Grid", false), ("Grid+", false), ("Door", true), ("Solar", false)] {
            schema::create_register(&tx, name, if discrete { "d" } else { "P" }).unwrap();
            model.add_register(name, discrete);
        }
        tx.commit().unwrap();
        for ts in rng.stamps(1, 20) {
            let samples: Vec<_> = (0..4).map(|_| rng.maybe(5)).collect();
            record(&mut writer, &mut model, ts, &samples);
        }
        let mut world = World {
            rng,
            state,
            meter: None,
            writer,
            logins: Default::default(),
            model,
            pending: Vec::new(),
            chain: None,
            broken: false,
            youngest: None,
            overlaid: false,
            steps: Vec::new(),
        };
        world.start();
        world
    }

    fn start(&mut self) {
        let binary = env!("CARGO_BIN_EXE_meterd").as_ref();
        let meter = Meter::start_with(binary, &self.state, "");
        self.logins = [meter.login(), meter.login()];
        self.meter = Some(meter);
    }

    /// One request of one of the two clients, over a connection of its own: the status and the body.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        let who = self.rng.below(2) as usize;
        let mut stream = self.meter.as_ref().unwrap().connect();
        // In HTTP/1.0 an answer ends with its connection.
        let head = format!(
            "{method} {path} HTTP/1.0\r\nAuthorization: Bearer {}\r\nPrefer: respond-async\r\nContent-Length: {}\r\n\r\n",
            self.logins[who],
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|it| it == b"\r\n\r\n").expect("an answer") + 4;
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        assert!(status < 500, "{}: {}", self.told(), String::from_utf8_lossy(&answer));
        (status, answer.split_off(end))
    }

    fn told(&self) -> String {
        self.steps.join("\n")
    }

    /// A request that must be answered with a JSON object, and the object.
    fn call(&mut self, method: &str, path: &str, body: &str) -> Value {
        let (_, answer) = self.ask(method, path, body);
        serde_json::from_slice(&answer).unwrap_or_else(|err| panic!("{err}: {}", String::from_utf8_lossy(&answer)))
    }

    /// Begins a database operation that must be taken: its token.
    fn begin(&mut self, body: &str) -> String {
        let reply = self.call("POST", "/cmd/db", body);
        let failed = format!("{}\n{body}: {reply}", self.told());
        assert!(reply.get("error").is_none(), "{failed}");
        reply["token"].as_str().expect(&failed).to_string()
    }

    /// Waits for an operation's end: its status.
    fn finish(&mut self, token: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.call("GET", &format!("/sys/status/{token}"), "");
            let status = status.get("result").unwrap_or_else(|| panic!("{}\n{status}", self.told())).clone();
            if status["done"] == true {
                return status;
            }
            assert!(Instant::now() < until, "{}\nnot done: {status}", self.told());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Lets everything that is under way come to its end.
    fn settle(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            let status = self.finish(&pending.token);
            assert!(status.get("error").is_none(), "{}\n{status}", self.told());
            if let Some((chunk, continues)) = pending.effect {
                self.model.restore(&chunk, continues, None);
            }
        }
        let differs = compare(&self.writer, &self.model).err();
        assert_eq!(differs, None, "{}", self.told());
    }

    /// Another step begins: it is noted for the case that something goes wrong.
    fn note(&mut self, text: String) {
        self.steps.push(text);
    }

    fn step(&mut self) {
        match self.rng.below(14) {
            0 => self.zero(),
            1 => self.split(),
            2 => self.append(),
            3 => self.excess(),
            4 | 5 => self.malformed(),
            6 | 7 => self.restart(),
            8 | 9 => self.cancelled(),
            _ => self.file(),
        }
        self.settle();
        let (status, served) = self.ask("GET", "/register?format=backup", "");
        let served = String::from_utf8_lossy(&served).into_owned();
        assert_eq!((status, served), (200, self.model.backup()), "{}", self.told());
    }

    /// A whole file, chunk by chunk, with others' business in between.
    fn file(&mut self) {
        for chunk in chunks(&mut self.rng, 4, 1) {
            self.chunk(chunk);
            match self.rng.below(8) {
                0..4 if self.pending.len() < UNDER_WAY => {}
                4 => self.restart(),
                5 => self.malformed(),
                6 => self.append(),
                _ => self.settle(),
            }
        }
    }

    fn chunk(&mut self, mut chunk: Chunk) {
        // Header lines may only be left out where the open chain's say the same.
        chunk.with_header |= self.chain.as_ref() != Some(&chunk.columns);
        let gzip = self.rng.one_in(4);
        let data = STANDARD.encode(pack(&chunk, &self.model, gzip));
        let mut body = range_of(chunk.range);
        body["action"] = json!("restore");
        body["data"] = json!(data);
        body["more_chunks"] = json!(chunk.more);
        body["regs"] = json!(chunk.regs);
        let body = body.to_string();
        let again = self.youngest.as_ref() == Some(&body);
        if !again && self.pending.iter().any(|it| it.body == body) {
            // Whether it counts as sent again depends on how far the service is.
            self.settle();
        }
        let continues = self.chain.is_some() && !self.broken;
        self.note(format!("restore {chunk:?}, sent again: {again}, continues: {continues}"));
        let token = self.begin(&body);
        if again {
            self.pending.push(Pending { token, body, effect: None });
            return;
        }
        self.chain = chunk.more.then(|| chunk.columns.clone());
        self.broken = false;
        self.begun(Some(body.clone()));
        self.pending.push(Pending { token, body, effect: Some((chunk, continues)) });
    }

    fn begun(&mut self, restore: Option<String>) {
        self.youngest = restore;
        self.overlaid = false;
    }

    /// Runs zero or split to its end and tells the range that it had, clipped as the service clips it.
    fn rework(&mut self, mut body: Value, action: &str) -> (i64, i64) {
        self.settle();
        let (from, to) = self.rng.range(1);
        body["action"] = json!(action);
        let range = range_of((from, to));
        body.as_object_mut().unwrap().extend(range.as_object().unwrap().clone());
        self.note(format!("{body}"));
        let token = self.begin(&body.to_string());
        self.begun(None);
        self.pending.push(Pending { token, body: String::new(), effect: None });
        (from, to.min(self.model.newest().unwrap_or(0)))
    }

    fn zero(&mut self) {
        let regs = subset(&mut self.rng, 4);
        let range = self.rework(json!({ "regs": regs }), "zero");
        self.model.zero(&regs.unwrap_or((0..4).collect()), range);
    }

    fn split(&mut self) {
        let range = self.rework(json!({}), "split");
        self.model.split(&[(0, 1)], range);
    }

    fn append(&mut self) {
        self.settle();
        let ts = self.model.newest().unwrap_or(CLUSTERS[0]) + self.rng.pick(&[0, 1, 60, 900]);
        let samples: Vec<_> = (0..4).map(|_| self.rng.maybe(4)).collect();
        self.note(format!("append {ts} {samples:?}"));
        record(&mut self.writer, &mut self.model, ts, &samples);
    }

    fn excess(&mut self) {
        self.settle();
        let (reg, excess) = (self.rng.below(4) as usize, self.rng.counter());
        self.note(format!("clear excess {excess} of {reg}"));
        self.writer.execute("UPDATE register SET excess = ?2 WHERE did = ?1", (reg as i64, excess)).unwrap();
        let reply = self.call("POST", "/cmd/clear", r#""excess""#);
        assert_eq!(reply["status"], "OK", "{}\n{reply}", self.told());
        self.model.clear_excess(reg, excess);
    }

    fn malformed(&mut self) {
        let (path, body, breaks) = self.rng.pick(&MALFORMED);
        self.note(format!("malformed: {path} {body}"));
        let reply = self.call("POST", path, body);
        assert!(reply["error"].is_string() && reply.get("status").is_none(), "{}\n{reply}", self.told());
        self.broken |= breaks;
        self.overlaid |= reply.get("token").is_some();
    }

    /// Ends the service, in good order or not, while operations may be under way; they go on, logins do not.
    fn restart(&mut self) {
        let kill = self.rng.one_in(2);
        std::thread::sleep(Duration::from_millis(self.rng.below(20)));
        self.note(format!("restart, killed: {kill}"));
        let meter = self.meter.take().unwrap();
        if kill {
            drop(meter)
        } else {
            meter.stop()
        }
        let old = std::mem::take(&mut self.logins);
        self.start();
        let new = std::mem::replace(&mut self.logins, old);
        assert_eq!(self.ask("GET", "/sys/time", "").0, 401, "{}", self.told());
        self.logins = new;
        self.youngest.take_if(|_| self.overlaid);
    }

    /// A long restore of older rows that is cancelled sooner or later, and must have stopped where it says.
    fn cancelled(&mut self) {
        self.settle();
        let first = CLUSTERS[0] - 90 - self.rng.below(200) as i64 * 60;
        let rows = (0..1200).map(|n| (first - n * 60, (0..4).map(|_| self.rng.maybe(10)).collect())).collect();
        let range = (0, i64::MAX - 1);
        let more = self.rng.one_in(2);
        let chunk = Chunk { columns: vec![0, 1, 2, 3], rows, range, regs: None, more, with_header: true };
        self.note(format!("cancel a restore of 1200 rows from {first}, more chunks: {more}"));
        self.chunk(chunk);
        std::thread::sleep(Duration::from_millis(self.rng.below(15)));
        let pending = self.pending.pop().unwrap();
        let reply = self.call("POST", "/cmd/cancel", &json!({ "token": pending.token }).to_string());
        let status = self.finish(&pending.token);
        let (chunk, continues) = pending.effect.expect("no such rows were sent before");
        match status["error"].as_str() {
            None => self.model.restore(&chunk, continues, None),
            Some("CANCELED") => {
                assert_eq!(reply["status"], "OK", "{}\n{reply}", self.told());
                // Nothing was applied before the first batch.
                let reached = status["result"]["reached"].as_str().map(|it| it.parse().unwrap());
                self.note(format!("cancelled at {reached:?}"));
                if let Some(reached) = reached {
                    self.model.restore(&chunk, continues, Some(reached));
                }
                self.broken = true;
                self.begun(None);
            }
            Some(_) => panic!("{}\n{status}", self.told()),
        }
    }
}

/// What another process does to the database: one row, by the contract.
fn record(writer: &mut Connection, model: &mut Model, ts: i64, samples: &[Option<i64>]) {
    let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    append(&tx, ts, &to_samples(model, samples)).unwrap();
    tx.commit().unwrap();
    model.append(ts, samples);
}

fn range_of((from, to): (i64, i64)) -> Value {
    let mut res = json!({});
    if from != 0 {
        res["from"] = json!(from.to_string());
    }
    if to != i64::MAX - 1 {
        res["to"] = json!(to.to_string());
    }
    res
}

#[test]
fn any_sequence_of_requests_leaves_the_database_as_the_model_says() {
    let number = |key: &str| std::env::var(key).ok().map(|it| it.parse::<u64>().expect("a number"));
    let seeds = match number("METERD_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("METERD_SEQUENCES").unwrap_or(SEQUENCES),
    };
    for seed in seeds {
        let mut world = World::new(seed);
        world.note(format!("seed {seed}"));
        for _ in 0..STEPS {
            world.step();
        }
    }
    std::fs::remove_dir_all(meter::root()).unwrap();
}
