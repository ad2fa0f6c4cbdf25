//! A controller that is killed at every call, and claims that are deleted at each call of the hand-over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::MIB;
use crate::api_relay::{Call, Fate, Kill};
use crate::content::{assert_content, content};
use crate::environment::TestEnv;
use crate::kubectl::kubectl;
use crate::populated::{NOW, POPULATED_VOLUME, RECLAIM_POLICY, from_clone_source};

/// The names of the members of an object and of theirs, and what is removed.
fn shape(object: &Value) -> String {
    match object {
        Value::Object(members) => {
            let inside = members.iter().filter(|(name, _)| *name != "resourceVersion");
            let inside: Vec<String> = inside.map(|(name, value)| format!("{name}{}", shape(value))).collect();
            format!("{{{}}}", inside.join(" "))
        }
        Value::Array(items) => format!("[{}]", items.len()),
        Value::Null => "-".to_owned(),
        _ => String::new(),
    }
}

/// What a call does, the same for each repetition of it.
fn kind(call: &Call) -> String {
    if call.verb == "PATCH" {
        format!("PATCH {} {}", call.path, shape(&call.body))
    } else {
        format!("{} {}", call.verb, call.path)
    }
}

/// Chooses the calls at which the controller is killed: those that make and record the prime, and all after the clone into the
/// prime is complete. `DECANT_KILL_EVERYWHERE=1` chooses all, which takes minutes.
struct Choice {
    kills_everywhere: bool,
    is_complete: bool,
}

impl Choice {
    fn includes(&mut self, call: &Call) -> bool {
        self.is_complete |= shape(&call.body).contains(POPULATED_VOLUME);
        if call.path.ends_with("/events") || is_for_itself(call) {
            return false;
        }
        let is_of_prime = call.verb == "POST" && call.path.ends_with("/persistentvolumeclaims")
            || ["decant.dev/prime ", "finalizers["].iter().any(|member| shape(&call.body).contains(member))
                && call.path.ends_with("/copy");
        self.kills_everywhere || self.is_complete || is_of_prime
    }
}

/// Whether the controller makes the call for itself.
fn is_for_itself(call: &Call) -> bool {
    let name = call.body["metadata"]["name"].as_str().unwrap_or_default();
    let is_own_secret = name.starts_with("cdi-uploadserver-")
        || name.starts_with("cdi-apiserver-")
        || name == "decant-token-key";
    call.path.ends_with("/volumepopulators") || call.path.ends_with("/secrets") && is_own_secret
}

/// Fails if a volume is lost or bound to two claims, or the claim is bound to an incomplete volume.
fn assert_volumes_are_safe(env: &TestEnv, claim: &str, noise: &[u8]) {
    let claim = env.get("pvc", claim).unwrap();
    let annotations = &claim["metadata"]["annotations"];
    if claim["status"]["phase"] == "Bound" {
        let path = env.backing_path_of_volume(claim["spec"]["volumeName"].as_str().unwrap(), "Block");
        assert!(content(&path, noise.len()) == noise, "bound to an incomplete volume: {claim}");
    }
    let Some(record) = annotations[POPULATED_VOLUME].as_str() else { return };
    let mut words = record.split(' ');
    let volume = env.get("pv", words.next().unwrap()).expect("the complete volume exists");
    let holder = volume["spec"]["claimRef"]["uid"].as_str().unwrap();
    let prime = words.next().unwrap();
    assert!(holder == prime || claim["metadata"]["uid"] == *holder, "{volume}");
    assert!(volume["metadata"].get("deletionTimestamp").is_none(), "{volume}");
    let of_prime = env.get("pvc", &env.prime_name(claim["metadata"]["name"].as_str().unwrap()));
    if holder != prime {
        assert!(of_prime.is_none(), "the volume was handed over while its prime exists: {volume}");
    }
    let is_retained = volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain";
    let is_leaving = of_prime.is_none_or(|prime| prime["metadata"]["deletionTimestamp"].is_string());
    assert!(
        is_retained || !is_leaving || claim["status"]["phase"] == "Bound",
        "nothing protects the volume: {volume}"
    );
}

#[test]
fn a_controller_killed_at_every_call_loses_no_volume() {
    let mut env = TestEnv::new(&["--no-leader-election"]);
    let noise = env.provisioned_source("Block", "8Mi", 6 * MIB);
    env.clone_source("golden", "golden", &json!({}));
    let kills_everywhere = std::env::var_os("DECANT_KILL_EVERYWHERE").is_some();
    let mut choice = Choice { kills_everywhere, is_complete: false };
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    env.judge_calls(move |call| {
        if !choice.includes(call) {
            return Fate::Pass;
        }
        let count = seen.entry(kind(call)).or_default();
        *count += 1;
        match count {
            1 => Fate::KillBefore,
            2 => Fate::KillAfter,
            _ => Fate::Pass,
        }
    });
    env.request_claim("copy", &from_clone_source(NOW, "Block", "8Mi", "golden"));
    env.start();
    let mut killed = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(if kills_everywhere { 500 } else { 150 });
    loop {
        if let Some(Kill { call, is_after }) = env.wait_for_kill(Duration::from_secs(1)) {
            killed.push(format!("{} {}", if is_after { "after" } else { "before" }, kind(&call)));
            assert_volumes_are_safe(&env, "copy", &noise);
            env.start();
            continue;
        }
        let claim = env.get("pvc", "copy").unwrap();
        if claim["metadata"]["finalizers"] == json!(["kubernetes.io/pvc-protection"])
            && claim["status"]["phase"] == "Bound"
        {
            break;
        }
        assert!(Instant::now() < deadline, "killed {} times: {killed:#?}\n{claim:#}", killed.len());
    }
    println!("killed {} times: {killed:#?}", killed.len());
    env.wait_for_populated("copy");
    assert_content(&env, "copy", &noise);
    let uid = env.get("pvc", "copy").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    for (call, member) in [
        (format!("POST /api/v1/namespaces/{}/persistentvolumeclaims", env.namespace), ""),
        (format!("PATCH /api/v1/namespaces/{}/persistentvolumeclaims/copy", env.namespace), POPULATED_VOLUME),
        ("PATCH /api/v1/persistentvolumes/".to_owned(), "reclaim-policy}"),
        (
            format!("DELETE /api/v1/namespaces/{}/persistentvolumeclaims/decant-prime-{uid}", env.namespace),
            "",
        ),
        ("PATCH /api/v1/persistentvolumes/".to_owned(), "claimRef"),
        ("PATCH /api/v1/persistentvolumes/".to_owned(), "reclaim-policy-}"),
        (format!("PATCH /api/v1/namespaces/{}/persistentvolumeclaims/copy", env.namespace), "finalizers[1]"),
    ] {
        for when in ["before", "after"] {
            let start = format!("{when} {call}");
            let is_it = |killed: &&String| killed.starts_with(&start) && killed.contains(member);
            assert!(killed.iter().any(|killed| is_it(&killed)), "no {start} {member}: {killed:#?}");
        }
    }
    env.wait_until_tidy();
    env.end_without_leftovers();
}

/// The calls of the hand-over.
const HAND_OVER: [&str; 5] = ["record", "retain", "release", "move", "restore"];

/// The calls for claims whose names begin with that of a call of the hand-over.
struct HandOvers {
    /// The names of the claims by UID.
    claims: BTreeMap<String, String>,
    /// Their names by volume.
    of_volumes: BTreeMap<String, String>,
}

impl HandOvers {
    /// The claim for which `call` is made, if its name begins with that of the call.
    fn claim(&mut self, call: &Call) -> Option<String> {
        let object = call.path.rsplit('/').next()?;
        let annotations = call.body["metadata"]["annotations"].as_object();
        let (name, claim) = if let Some(prime) = object.strip_prefix("decant-prime-") {
            (if call.verb == "DELETE" { "release" } else { return None }, self.claims.get(prime)?)
        } else if let Some(record) = annotations.and_then(|all| all.get(POPULATED_VOLUME)?.as_str()) {
            let volume = record.split(' ').next()?.to_owned();
            self.of_volumes.insert(volume.clone(), object.to_owned());
            ("record", &self.of_volumes[&volume])
        } else {
            let name = match annotations.and_then(|all| all.get(RECLAIM_POLICY)) {
                Some(Value::Null) => "restore",
                Some(_) => "retain",
                None => "move",
            };
            (name, self.of_volumes.get(object)?)
        };
        claim.starts_with(name).then(|| claim.clone())
    }
}

#[test]
fn a_claim_deleted_at_any_call_of_its_hand_over_leaves_nothing() {
    let mut env = TestEnv::new(&["--no-leader-election"]);
    env.provisioned_source("Block", "8Mi", 6 * MIB);
    env.clone_source("golden", "golden", &json!({}));
    let names = HAND_OVER.iter().flat_map(|call| [format!("{call}-before"), format!("{call}-after")]);
    let names: Vec<String> = names.collect();
    let claims = names.iter().map(|name| {
        env.request_claim(name, &from_clone_source(NOW, "Block", "8Mi", "golden"));
        let uid = env.get("pvc", name).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
        (uid, name.clone())
    });
    let mut hand_overs = HandOvers { claims: claims.collect(), of_volumes: BTreeMap::new() };
    let namespace = env.namespace.clone();
    let mut deleted: Vec<String> = Vec::new();
    env.judge_calls(move |call| {
        let claim = hand_overs.claim(call).filter(|claim| !deleted.contains(claim));
        let Some(claim) = claim else { return Fate::Pass };
        deleted.push(claim.clone());
        let is_after = claim.ends_with("-after");
        let args = ["-n", &namespace, "delete", "pvc", &claim, "--wait=false"].map(str::to_owned);
        let delete = Box::new(move || {
            kubectl(&args.each_ref().map(String::as_str), None);
        });
        if is_after { Fate::After(delete) } else { Fate::Before(delete) }
    });
    env.start();
    for name in &names {
        env.wait_for_deletion("pvc", name);
    }
    env.wait_until_tidy();
    env.end_without_leftovers();
}
