//! `kubectl decant clone`: a DataVolume that asks for a clone of a PVC.

use std::collections::BTreeMap;

use decant_shared::protocol::units::{Bytes, parse_quantity};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::CloneArgs;
use crate::ending::{Ending, Failure};
use crate::follow::{Until, to_the_end};
use crate::output::{complain, print, say};
use crate::session::Session;
use decant_controller::api::cluster::{ApiError, Cluster};
use decant_controller::objects;
use decant_controller::objects::annotations::{BANDWIDTH_LIMIT, BIND_IMMEDIATE, STREAMS, VERIFY};
use decant_controller::objects::claim::VolumeMode;
use decant_controller::objects::names::NAME_MAX_BYTES;
use decant_controller::objects::{Claim, ClaimTemplate, Key, Kind, Object};

pub(super) fn run(session: &Session, args: &CloneArgs) -> Result<Ending, Failure> {
    let source = Key::new(&session.namespace, &args.source);
    let target = Key::new(
        args.to_namespace.as_ref().unwrap_or(&session.namespace),
        args.to.clone().unwrap_or_else(|| format!("{}-clone", args.source)),
    );
    if target == source {
        return Err(Failure::usage(format!(
            "{target} cannot be cloned into itself; choose another name with --to"
        )));
    }
    if target.name.len() > NAME_MAX_BYTES {
        return Err(Failure::usage(format!(
            "{:?} is longer than {NAME_MAX_BYTES} bytes; choose a name with --to",
            target.name
        )));
    }
    check_source(session, &source, args)?;
    if let Some(class) = &args.storage_class {
        warn_without_class(session, class)?;
    }
    let made = session.cluster.create(Kind::DataVolume, &data_volume(&source, &target, args))?;
    match args.output {
        Some(output) => print(output, &made.value())?,
        None => say(&format!("datavolume.cdi.kubevirt.io/{} created", target.name)),
    }
    if !args.wait {
        return Ok(Ending::Done);
    }
    let timeout = Some(args.timeout).filter(|limit| !limit.is_zero());
    to_the_end(session, &target, &Until { timeout, is_blocked: true, output: args.output })
}

/// The source is there, and not larger than what it shall be cloned into. Who may not see it may still clone it.
fn check_source(session: &Session, source: &Key, args: &CloneArgs) -> Result<(), Failure> {
    let Some(object) = if_readable(session.cluster.get(Kind::PersistentVolumeClaim, source))? else {
        return Ok(());
    };
    let claim: Claim = objects::decode(object)
        .map_err(|e| Failure::new(Ending::Failed, format!("PVC {source} cannot be read: {e}")))?;
    if claim.metadata.is_deleting() {
        return Err(Failure::new(Ending::Missing, format!("PVC {source} is being deleted")));
    }
    let bytes = |text: Option<&String>| text.and_then(|text| parse_quantity(text).ok());
    match (bytes(claim.requested().as_ref()), bytes(args.size.as_ref())) {
        // The size of a filesystem is what files can use; the controller adds what they cannot.
        (Some(has), Some(wanted)) if wanted < has && claim.spec.volume_mode == VolumeMode::Block => {
            let (wanted, has) = (Bytes(wanted), Bytes(has));
            Err(Failure::usage(format!("--size of {wanted} is less than PVC {source} has: {has}")))
        }
        _ => Ok(()),
    }
}

/// An object that may not be read is not looked at: the API server decides about the clone itself.
fn if_readable(answer: Result<Object, ApiError>) -> Result<Option<Object>, Failure> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(e) if e.code == 403 => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Volumes that were made by hand may name a class that nobody has defined; as a rule it is a slip.
fn warn_without_class(session: &Session, class: &str) -> Result<(), Failure> {
    match session.cluster.get(Kind::StorageClass, &Key::new("", class)) {
        Err(e) if e.code == 404 => {
            complain(&format!(
                "Warning: there is no StorageClass {class:?}: only an existing volume that names it can be bound"
            ));
            Ok(())
        }
        answer => if_readable(answer).map(|_| ()),
    }
}

/// What is not said follows the source: `spec.storage` is completed by the controller.
fn data_volume(source: &Key, target: &Key, args: &CloneArgs) -> Value {
    let mut storage =
        ClaimTemplate { storage_class_name: args.storage_class.clone(), ..ClaimTemplate::default() };
    if let Some(size) = &args.size {
        storage.request(size.clone());
    }
    let wishes = [
        (BIND_IMMEDIATE, args.immediate.then(String::new)),
        (BANDWIDTH_LIMIT, args.limit.clone()),
        (STREAMS, args.streams.map(|count| count.to_string())),
        (VERIFY, args.verify.clone()),
    ];
    let annotations: BTreeMap<&str, String> =
        wishes.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let metadata = NewMeta { namespace: &target.namespace, name: &target.name, annotations };
    json!({
        "apiVersion": Kind::DataVolume.api_version(),
        "kind": Kind::DataVolume.name(),
        "metadata": metadata,
        "spec": { "source": { "pvc": { "namespace": source.namespace, "name": source.name } }, "storage": storage },
    })
}

/// Metadata of an object that is to be made.
#[derive(Serialize)]
struct NewMeta<'a> {
    namespace: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;
    use decant_controller::objects::clone_request;

    fn made(flags: &[&str]) -> Value {
        let cli = Cli::try_parse_from([&["kubectl-decant", "clone", "golden"], flags].concat()).unwrap();
        let Command::Clone(args) = cli.command else { panic!() };
        data_volume(&Key::new("n", "golden"), &Key::new("m", "copy"), &args)
    }

    #[test]
    fn what_is_made_is_what_the_controller_takes() {
        let wishes = ["--limit", "50MiB/s", "--streams", "8", "--verify", "readback"];
        for flags in [&[][..], &["--size", "20Gi", "--storage-class", "fast", "--immediate"], &wishes] {
            let object = made(flags);
            let dv = objects::decode(object.clone()).unwrap();
            assert_eq!(clone_request::validate(&dv), Ok(()), "{object}");
            assert_eq!(clone_request::wanted(&dv), Ok(clone_request::Wanted::Claim(Key::new("n", "golden"))));
        }
    }

    #[test]
    fn flags_end_up_where_they_count() {
        let object = made(&["--size", "20Gi", "--storage-class", "fast", "--immediate"]);
        assert_eq!(object["spec"]["storage"]["resources"]["requests"]["storage"], "20Gi");
        assert_eq!(object["spec"]["storage"]["storageClassName"], "fast");
        assert_eq!(object["metadata"]["annotations"][BIND_IMMEDIATE], "");
        assert_eq!(made(&[])["spec"]["storage"], json!({}));
        assert_eq!(made(&[])["metadata"].get("annotations"), None);
        let annotations =
            &made(&["--limit", "50MiB/s", "--streams", "4", "--verify=readback"])["metadata"]["annotations"];
        let wanted = json!({ BANDWIDTH_LIMIT: "50MiB/s", STREAMS: "4", VERIFY: "readback" });
        assert_eq!(*annotations, wanted);
    }

    #[test]
    fn wishes_that_cannot_be_meant_are_refused_before_anything_is_made() {
        for flags in [["--limit", "fast"], ["--streams", "0"], ["--streams", "9"], ["--verify", "twice"]] {
            let words = ["kubectl-decant", "clone", "golden"].iter().chain(&flags);
            assert!(Cli::try_parse_from(words).is_err(), "{flags:?}");
        }
    }
}
