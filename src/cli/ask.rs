//! Asks the daemon something over its control socket.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::Common;
use crate::config::native::Settings;
use crate::control::Client;
use crate::daemon::verbs::Verb;

/// The socket: the one on the command line, else the one that the settings name.
pub(super) fn socket(common: &Common) -> anyhow::Result<PathBuf> {
    match &common.socket {
        Some(socket) => Ok(socket.clone()),
        None => Ok(Settings::load(&common.config_dir)?.socket),
    }
}

/// Asks, and reads the answer.
pub(super) fn ask<T: DeserializeOwned>(common: &Common, verb: &Verb) -> anyhow::Result<T> {
    let mut client = Client::connect(&socket(common)?)?;
    Ok(client.native(verb)?)
}
