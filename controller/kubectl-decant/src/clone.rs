//! `kubectl decant clone`: creates a DataVolume that requests a clone of a PVC, or a PVC that a clone fills.

use std::collections::BTreeMap;

use decant_shared::protocol::units::{Bytes, parse_quantity};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::CloneArgs;
use crate::as_claim;
use crate::ending::{Ending, Failure};
use crate::follow::{FollowOptions, FollowedClone, follow_to_end};
use crate::output::{print, print_error, print_line};
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
    let claim = check_source(session, &source, args)?;
    if let Some(class) = &args.storage_class {
        warn_without_class(session, class)?;
    }
    let followed = if args.as_claim {
        as_claim::create(session, &source, claim.as_ref(), &target, args)?;
        FollowedClone::claim(target)
    } else {
        let created = session.cluster.create(Kind::DataVolume, &data_volume(&source, &target, args))?;
        match args.output {
            Some(output) => print(output, &created.value())?,
            None => print_line(&format!("datavolume.cdi.kubevirt.io/{} created", target.name)),
        }
        FollowedClone::data_volume(target)
    };
    if !args.wait {
        return Ok(Ending::Done);
    }
    let timeout = Some(args.timeout).filter(|limit| !limit.is_zero());
    follow_to_end(session, &followed, &FollowOptions { timeout, ends_if_blocked: true, output: args.output })
}

/// The source, after a check that it exists and fits into the target. Users who may not read the source may still clone
/// it.
fn check_source(session: &Session, source: &Key, args: &CloneArgs) -> Result<Option<Claim>, Failure> {
    let Some(object) = if_readable(session.cluster.get(Kind::PersistentVolumeClaim, source))? else {
        return Ok(None);
    };
    let claim: Claim = objects::decode(object)
        .map_err(|e| Failure::new(Ending::Failed, format!("PVC {source} cannot be read: {e}")))?;
    if claim.metadata.is_deleting() {
        return Err(Failure::new(Ending::Missing, format!("PVC {source} is being deleted")));
    }
    let bytes = |text: Option<&String>| text.and_then(|text| parse_quantity(text).ok());
    match (bytes(claim.requested().as_ref()), bytes(args.size.as_ref())) {
        // The size of a filesystem is the space for files; the controller adds the overhead.
        (Some(has), Some(wanted)) if wanted < has && claim.spec.volume_mode == VolumeMode::Block => {
            let (wanted, has) = (Bytes(wanted), Bytes(has));
            Err(Failure::usage(format!("--size {wanted} is too small: PVC {source} has {has}")))
        }
        _ => Ok(Some(claim)),
    }
}

/// An object that the user may not read is not checked: the API server decides about the clone itself.
fn if_readable(answer: Result<Object, ApiError>) -> Result<Option<Object>, Failure> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(e) if e.code == 403 => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Statically provisioned volumes may name a class that does not exist, but usually it is a typing error.
fn warn_without_class(session: &Session, class: &str) -> Result<(), Failure> {
    match session.cluster.get(Kind::StorageClass, &Key::new("", class)) {
        Err(e) if e.code == 404 => {
            print_error(&format!(
                "Warning: StorageClass {class:?} does not exist: only an existing volume that names it can be bound"
            ));
            Ok(())
        }
        answer => if_readable(answer).map(|_| ()),
    }
}

/// The controller completes `spec.storage` from the source.
fn data_volume(source: &Key, target: &Key, args: &CloneArgs) -> Value {
    let mut storage =
        ClaimTemplate { storage_class_name: args.storage_class.clone(), ..ClaimTemplate::default() };
    if let Some(size) = &args.size {
        storage.request(size.clone());
    }
    let options = [
        (BIND_IMMEDIATE, args.immediate.then(String::new)),
        (BANDWIDTH_LIMIT, args.limit.clone()),
        (STREAMS, args.streams.map(|count| count.to_string())),
        (VERIFY, args.verify.clone()),
    ];
    let annotations: BTreeMap<&str, String> =
        options.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let metadata = NewMeta { namespace: &target.namespace, name: &target.name, annotations };
    json!({
        "apiVersion": Kind::DataVolume.api_version(),
        "kind": Kind::DataVolume.name(),
        "metadata": metadata,
        "spec": { "source": { "pvc": { "namespace": source.namespace, "name": source.name } }, "storage": storage },
    })
}

/// Metadata of a new object.
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

    fn created(flags: &[&str]) -> Value {
        let cli = Cli::try_parse_from([&["kubectl-decant", "clone", "golden"], flags].concat()).unwrap();
        let Command::Clone(args) = cli.command else { panic!() };
        data_volume(&Key::new("n", "golden"), &Key::new("m", "copy"), &args)
    }

    #[test]
    fn the_controller_accepts_the_data_volume() {
        let options = ["--limit", "50MiB/s", "--streams", "8", "--verify", "readback"];
        for flags in [&[][..], &["--size", "20Gi", "--storage-class", "fast", "--immediate"], &options] {
            let object = created(flags);
            let dv = objects::decode(object.clone()).unwrap();
            assert_eq!(clone_request::validate(&dv), Ok(()), "{object}");
            assert_eq!(clone_request::wanted(&dv), Ok(clone_request::Wanted::Claim(Key::new("n", "golden"))));
        }
    }

    #[test]
    fn flags_become_fields_and_annotations() {
        let object = created(&["--size", "20Gi", "--storage-class", "fast", "--immediate"]);
        assert_eq!(object["spec"]["storage"]["resources"]["requests"]["storage"], "20Gi");
        assert_eq!(object["spec"]["storage"]["storageClassName"], "fast");
        assert_eq!(object["metadata"]["annotations"][BIND_IMMEDIATE], "");
        assert_eq!(created(&[])["spec"]["storage"], json!({}));
        assert_eq!(created(&[])["metadata"].get("annotations"), None);
        let annotations = &created(&["--limit", "50MiB/s", "--streams", "4", "--verify=readback"])["metadata"]
            ["annotations"];
        let wanted = json!({ BANDWIDTH_LIMIT: "50MiB/s", STREAMS: "4", VERIFY: "readback" });
        assert_eq!(*annotations, wanted);
    }

    #[test]
    fn invalid_flags_are_refused_before_anything_is_created() {
        for flags in [["--limit", "fast"], ["--streams", "0"], ["--streams", "9"], ["--verify", "twice"]] {
            let arguments = ["kubectl-decant", "clone", "golden"].iter().chain(&flags);
            assert!(Cli::try_parse_from(arguments).is_err(), "{flags:?}");
        }
    }
}
