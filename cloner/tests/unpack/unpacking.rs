//! Unpacks a whole archive into a directory.

use std::fs::File;
use std::path::Path;

use decant_cloner::error::Result;
use decant_cloner::volume::tree::write::unpack_tree;
use decant_cloner::volume::tree::write::{UnpackOptions, Unpacked};
use decant_shared::process::stop::Stop;
use decant_test_support::is_root;

/// Unpacks without options.
pub(crate) fn unpack(bytes: &[u8], target: &Path) -> Result<Unpacked> {
    unpack_with(bytes, target, UnpackOptions { own: is_root(), ..UnpackOptions::default() })
}

pub(crate) fn unpack_with(mut bytes: &[u8], target: &Path, options: UnpackOptions) -> Result<Unpacked> {
    unpack_tree(&mut bytes, File::open(target).unwrap(), target, options, &Stop::new())
}
