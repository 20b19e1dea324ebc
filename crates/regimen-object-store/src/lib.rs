//! Checkpoints of [regimen](../regimen/index.html) in object stores: S3 and compatible ones, Google Cloud Storage, Azure.
//!
//! ```
//! use std::sync::Arc;
//!
//! use regimen::checkpoint::Checkpointer;
//! use regimen_object_store::ObjectStore;
//!
//! let store = ObjectStore::open("memory://")?; // s3://bucket/prefix, gs://bucket/prefix, az://container/prefix
//! let saver = Checkpointer::new("digits").store(Arc::new(store)).keep_last(3);
//! # drop(saver);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Layout
//!
//! An object store has no directories and no rename, and a put of one object is atomic. So a directory is one object,
//! its *index*, which lists the files. This is the run directory `digits` with two checkpoints, of which one is being
//! written:
//!
//! ```text
//! digits/LOCK
//! digits/step-000000500.index                                    the files of the checkpoint
//! digits/.data/tmp-step-000000500-5be1d2a90c4f7e63/MANIFEST
//! digits/.data/tmp-step-000000500-5be1d2a90c4f7e63/module.safetensors
//! digits/.data/tmp-step-000001000-90cc61f0be4a8d27/module.safetensors
//! ```
//!
//! * A directory whose name begins with `.tmp-` or `.del-` is a *draft*. It is known only to the process that has made it. Its files
//!   are uploaded under keys that nobody else uses.
//! * The rename of a draft to another name is one put of its index, on the condition that there is none. This is the
//!   commit: a kill before it leaves objects that nobody reads, and a kill after it leaves the whole checkpoint.
//! * The rename of a directory to a draft is one delete of its index. The files are removed after it.
//! * A listing and an open of a file read indexes only. An index has the length and the CRC-32 of each file, and a
//!   checksum of itself.
//! * Other directories exist without being made.
//!
//! # Failures
//!
//! Every call is tried again after a failure that may pass, with a growing pause. Of an upload in parts only the part
//! in question is sent again. If the answer to a conditional put is lost, the object is read back to find out whose it
//! is. If that is unknown in the end, the save is an error and its files are left alone, because the index may refer
//! to them.
//!
//! A file is durable when the server has acknowledged it. Memory is bounded by five
//! [parts](ObjectStore::part_bytes) per file.
//!
//! # Locks
//!
//! A run directory has one writer, which holds the object `LOCK` by conditional puts. It renews it three times per
//! [lease](ObjectStore::lease). Another process is refused when it sees it renewed. If the holder has died, the other
//! process goes on when one lease is over, by its own clock. Each commit
//! renews it before and after its put, and is an error if another writer has taken it. A directory is removed only after
//! a renewal as well.
//!
//! # Leftovers
//!
//! The next writer removes files that no index refers to, if they are [older](ObjectStore::sweep_after) than an hour.
//! Parts of an upload that was cut off are no objects and cannot be listed here: give the bucket a rule that
//! aborts incomplete uploads after a day.
//!
//! # Requirements
//!
//! The store must support conditional puts, as S3 does by `If-None-Match` and `If-Match`.
#![forbid(unsafe_code)]

mod download;
mod draft;
mod index;
mod key;
mod lease;
mod logs;
mod message;
mod remote;
mod remote_file;
mod store;
mod sweep;
mod upload;
mod url;

pub use logs::LogUpload;
pub use object_store;
pub use remote_file::{RemoteFile, RemoteWindows};
pub use store::ObjectStore;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
mod readme {}
