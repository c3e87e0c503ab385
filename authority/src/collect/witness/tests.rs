use audit::log::Log;
use audit::note::NoteKey;
use audit::note::cosign::Cosigner;
use audit::witness::keeper::{Failed, Witness};
use signing::algorithm::Algorithm;
use signing::key::SigningKey;

use super::super::tests::shipped;
use super::*;

struct Site {
    dir: tempfile::TempDir,
    log: Log,
    witness: Witness,
    keys: (VerifierKey, WitnessKey),
}

fn secret() -> SigningKey {
    SigningKey::generate(Algorithm::EdDsa).unwrap()
}

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let log = NoteKey::new("example.org/audit/1", secret()).unwrap();
        let witness = Cosigner::new("w.example/1", secret()).unwrap();
        let keys = (log.verifier().clone(), witness.verifier().clone());
        let state = Directory::open(&dir.path().join("witness")).unwrap().unwrap();
        let objects = Directory::open(&dir.path().join("log")).unwrap().unwrap();
        Site {
            log: Log::open(Box::new(objects), log).unwrap(),
            witness: Witness::open(Box::new(state), witness, vec![keys.0.clone()]).unwrap(),
            dir,
            keys,
        }
    }

    fn grow(&mut self, edge: &str) -> u64 {
        assert!(self.log.take(shipped(edge, 3)).unwrap().iter().all(Result::is_ok));
        assert!(self.log.publish().unwrap());
        self.log.checkpoint().size
    }

    fn request(&self, old: u64) -> Result<Request, u64> {
        let place = LogPlace::Directory(self.dir.path().join("log"));
        request(&place, &self.keys.0, old).unwrap()
    }

    /// What the authority makes of what the witness answers.
    fn exchange(&mut self, request: &Request) -> Heard {
        let answered = self.witness.add(&request.to_string(), 7);
        let (status, body) = match answered {
            Ok(line) => (200, line),
            Err(Failed::Refused(refused)) => {
                let size = refused.size().map(|size| format!("{size}\n"));
                (refused.status(), size.unwrap_or_else(|| refused.to_string()))
            }
            Err(error) => panic!("{error}"),
        };
        heard(request, (&self.keys.0, &self.keys.1), status, &body)
    }
}

#[test]
fn a_log_that_grows_is_cosigned_and_one_that_lost_count_learns_the_size() {
    let mut site = Site::new();
    let first = site.grow("edge-1");
    let request = site.request(0).unwrap();
    let Heard::Cosigned(note) = site.exchange(&request) else {
        panic!("not cosigned");
    };
    let (checkpoint, time) = site.keys.1.checkpoint(&site.keys.0, &note).unwrap();
    assert_eq!((checkpoint.size, time), (first, 7));
    let second = site.grow("edge-2");
    assert!(second > first);
    let forgotten = site.request(0).unwrap();
    assert_eq!(site.exchange(&forgotten), Heard::At(first));
    let known = site.request(first).unwrap();
    assert!(matches!(site.exchange(&known), Heard::Cosigned(_)));
    assert_eq!(
        site.request(second + 1),
        Err(second),
        "the log has less than was cosigned"
    );
}

// R29
#[test]
fn a_log_that_began_anew_under_the_same_key_is_suspect() {
    let mut site = Site::new();
    site.grow("edge-1");
    let size = site.log.checkpoint().size;
    let mut other = Site::new();
    // As if it had signed both histories: the same key, the same size.
    let shared = secret();
    let again = || SigningKey::import(Algorithm::EdDsa, &shared.export().unwrap()).unwrap();
    for (site, edge) in [(&mut site, "edge-1"), (&mut other, "edge-2")] {
        std::fs::remove_dir_all(site.dir.path().join("log")).unwrap();
        let objects = Directory::open(&site.dir.path().join("log")).unwrap().unwrap();
        let key = NoteKey::new("example.org/audit/1", again()).unwrap();
        site.keys.0 = key.verifier().clone();
        site.log = Log::open(Box::new(objects), key).unwrap();
        assert_eq!(site.grow(edge), size);
    }
    let witness = Cosigner::new("w.example/1", secret()).unwrap();
    site.keys.1 = witness.verifier().clone();
    let state = Directory::open(&site.dir.path().join("other")).unwrap().unwrap();
    site.witness = Witness::open(Box::new(state), witness, vec![site.keys.0.clone()]).unwrap();
    let request = site.request(0).unwrap();
    assert!(matches!(site.exchange(&request), Heard::Cosigned(_)));
    let forked = other.request(size).unwrap();
    assert!(matches!(site.exchange(&forked), Heard::Suspect(_)));
    other.grow("edge-3");
    let grown = other.request(size).unwrap();
    assert!(matches!(site.exchange(&grown), Heard::Suspect(_)));
}

#[test]
fn an_answer_is_believed_for_its_cosignature_only() {
    let mut site = Site::new();
    site.grow("edge-1");
    let request = site.request(0).unwrap();
    let keys = (&site.keys.0, &site.keys.1);
    let line = |by: &Cosigner| by.cosign("another text\n", 7).unwrap();
    let stranger = Cosigner::new("w.example/1", secret()).unwrap();
    for (status, body) in [
        (200, String::new()),
        (200, "welcome\n".into()),
        (200, line(&stranger)),
        (403, "not signed by the log".into()),
        (404, String::new()),
        (409, "soon".into()),
        (500, "\u{7}broken".into()),
    ] {
        let heard = heard(&request, keys, status, &body);
        assert!(
            matches!(&heard, Heard::Failed(why) if !why.contains('\u{7}')),
            "{heard:?}"
        );
    }
    let own = site.witness.add(&request.to_string(), 7).unwrap();
    let with_others = format!("{}{own}", line(&stranger));
    let Heard::Cosigned(note) = heard(&request, (&site.keys.0, &site.keys.1), 200, &with_others) else {
        panic!("not cosigned");
    };
    assert_eq!(note, format!("{}{own}", request.note), "what others signed is not kept");
}
