//! Whether comparing what is secret takes a time that tells where it differs (A-DM-38): `cargo bench --bench constant_time`.
//!
//! The test of dudect (Reparaz, Balasch, Verbauwhede 2017): one of two inputs, by a coin, and Welch's t over the times of
//! both; |t| of 4.5 and more is a leak. A comparison that ends at the first difference runs beside the others: if that one
//! is not found out, the run proves nothing, and fails.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;
use undertone::crypto::{Secret32, aead};
use undertone::dm::fanout::SealedPayload;
use undertone::envelope::direct::Commitment;
use undertone::identity::{LocalIdentity, SafetyNumber, Scan};
use undertone::store::{MemoryStore, Overlay, Tx};
use undertone::time::UnixMs;

/// From here on it is a leak.
const LEAK: f64 = 4.5;
/// Times of one case.
const SAMPLES: usize = 200_000;
/// Runs of the work in one time: the clock is coarse.
const REPEATS: usize = 8;
/// Of all times, the slowest part is what else the machine did.
const KEPT: f64 = 0.9;

/// Says whether what it is given is right.
type Comparison = Box<dyn FnMut(&[u8]) -> bool>;

/// A comparison, and two wrong things to give it.
struct Case {
    name: &'static str,
    inputs: [Vec<u8>; 2],
    work: Comparison,
    leaks: bool,
}

impl Case {
    /// Welch's t of the two classes. Both are copied to one place, so that caches know no difference.
    fn measure(&mut self, rng: &mut StdRng) -> f64 {
        let mut times = [Vec::with_capacity(SAMPLES), Vec::with_capacity(SAMPLES)];
        let mut input = self.inputs[0].clone();
        for _ in 0..SAMPLES {
            let class = usize::from(rng.random::<bool>());
            input.copy_from_slice(black_box(&self.inputs[class]));
            let before = Instant::now();
            for _ in 0..REPEATS {
                black_box((self.work)(black_box(&input)));
            }
            times[class].push(before.elapsed().as_nanos() as u64);
        }
        // One border for both, or the cut itself would tell them apart.
        let mut all: Vec<u64> = times.iter().flatten().copied().collect();
        all.sort_unstable();
        let border = all[(all.len() as f64 * KEPT) as usize];
        let [one, other] = times.map(|times| Moments::of(times.iter().copied().filter(|time| *time <= border)));
        (one.mean - other.mean) / (one.variance / one.count + other.variance / other.count).sqrt()
    }
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(times: impl Iterator<Item = u64> + Clone) -> Self {
        let count = times.clone().count() as f64;
        let mean = times.clone().map(|time| time as f64).sum::<f64>() / count;
        let variance = times.map(|time| (time as f64 - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self { count, mean, variance }
    }
}

/// The bytes, wrong in their first and in their last byte.
fn wrong(bytes: &[u8], in_range: std::ops::Range<usize>) -> [Vec<u8>; 2] {
    [in_range.start, in_range.end - 1].map(|at| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    })
}

fn tag(name: &'static str, len: usize, rng: &mut StdRng) -> Case {
    let key = Secret32::random(rng);
    let (nonce, ad) = ([7; 12], [8; 32]);
    let sealed = aead::seal(&key, &nonce, &ad, &vec![1; len]);
    let inputs = wrong(&sealed, len..sealed.len());
    Case { name, inputs, work: Box::new(move |sealed| aead::open(&key, &nonce, &ad, sealed).is_ok()), leaks: false }
}

fn cases(rng: &mut StdRng) -> Vec<Case> {
    let secret: [u8; 32] = rng.random();
    let ours = Secret32::from_bytes(secret);
    let key = Case {
        name: "secret key",
        inputs: wrong(&secret, 0..32),
        work: Box::new(move |theirs| ours == Secret32::from_slice(theirs).expect("32 bytes")),
        leaks: false,
    };
    let (payload_key, sealed) = SealedPayload::seal(b"a payload", rng);
    let ciphertext = sealed.ciphertext.clone();
    let commitment = Case {
        name: "commitment to a payload key",
        inputs: wrong(sealed.commitment.as_bytes(), 0..32),
        work: Box::new(move |commitment| {
            let commitment = Commitment::from_bytes(commitment.try_into().expect("32 bytes"));
            SealedPayload { commitment, ciphertext: ciphertext.clone() }.open(&payload_key).is_ok()
        }),
        leaks: false,
    };
    let number = safety_number(rng);
    let qr = number.to_qr();
    let safety = Case {
        name: "safety number",
        inputs: wrong(&qr, 1..qr.len()),
        work: Box::new(move |theirs| number.scan(theirs) == Scan::Matches),
        leaks: false,
    };
    let naive = Case {
        name: "one that ends at the first difference",
        inputs: wrong(&secret, 0..32),
        work: Box::new(move |theirs| {
            for (one, other) in secret.iter().zip(theirs) {
                if black_box(one) != black_box(other) {
                    return false;
                }
            }
            true
        }),
        leaks: true,
    };
    vec![tag("tag of 64 bytes", 64, rng), tag("tag of 16 kB", 16_384, rng), key, commitment, safety, naive]
}

fn safety_number(rng: &mut StdRng) -> SafetyNumber {
    let [one, other] = ["one", "other"].map(|name| {
        let (store, overlay) = (MemoryStore::new(), Overlay::default());
        let now = UnixMs::from_u64(1_767_225_600_000);
        LocalIdentity::create(&mut Tx::new(&store, &overlay), name, now, rng).expect("an empty store takes an identity")
    });
    SafetyNumber::of(one.account_certificate(), other.account_certificate())
}

fn main() -> ExitCode {
    let mut is_json = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => is_json = true,
            // `cargo bench` passes it on.
            "--bench" => {}
            other => {
                eprintln!("constant_time: `{other}` is unknown; there is --json");
                return ExitCode::from(2);
            }
        }
    }
    let rng: &mut StdRng = &mut rand::make_rng();
    let (mut rows, mut is_as_it_should) = (Vec::new(), true);
    for mut case in cases(rng) {
        let t = case.measure(rng);
        let leaks = t.abs() >= LEAK;
        is_as_it_should &= leaks == case.leaks;
        if !is_json {
            println!("{:<40} t = {t:>8.2}   {}", case.name, if leaks { "leaks" } else { "even" });
        }
        rows.push(json!({ "case": case.name, "t": t, "leaks": leaks, "should_leak": case.leaks }));
    }
    if is_json {
        println!("{}", serde_json::Value::from(rows));
    }
    if is_as_it_should { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
