//! The content of a simulated disk: for a running system, and for one that lost its power.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

use super::survival::Survival;
use crate::checkpoint::StoreEntry;

/// Files and directories by number; the root is number 0. None is ever reused, so that an open
/// file keeps its number when its name is gone.
#[derive(Clone)]
pub(crate) struct Image {
    nodes: Vec<Node>,
}

#[derive(Clone)]
enum Node {
    File(File),
    Dir(Dir),
}

#[derive(Clone, Default)]
struct File {
    live: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Clone, Default)]
struct Dir {
    live: Names,
    synced: Names,
    /// The changes that make `live` of `synced`, in order.
    pending: Vec<Change>,
}

type Names = BTreeMap<String, usize>;

#[derive(Clone)]
enum Change {
    Add(String, usize),
    Remove(String),
    Rename(String, String, usize),
}

impl Default for Image {
    fn default() -> Self {
        Image { nodes: vec![Node::Dir(Dir::default())] }
    }
}

impl Image {
    pub(crate) fn list(&self, dir: &Path) -> io::Result<Vec<StoreEntry>> {
        let entry = |(name, &node): (&String, &usize)| StoreEntry {
            name: name.clone(),
            is_dir: matches!(self.nodes[node], Node::Dir(_)),
        };
        Ok(self.dir(dir)?.live.iter().map(entry).collect())
    }

    pub(crate) fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        match &self.nodes[self.find(file)?] {
            Node::File(file) => Ok(file.live.clone()),
            Node::Dir(_) => Err(ErrorKind::IsADirectory.into()),
        }
    }

    pub(crate) fn create_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.add(dir, Node::Dir(Dir::default())).map(drop)
    }

    pub(crate) fn create_file(&mut self, file: &Path) -> io::Result<usize> {
        self.add(file, Node::File(File::default()))
    }

    pub(crate) fn append(&mut self, file: usize, bytes: &[u8]) -> io::Result<()> {
        self.file_mut(file)?.live.extend_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn sync_file(&mut self, file: usize) -> io::Result<()> {
        let file = self.file_mut(file)?;
        file.synced.clone_from(&file.live);
        Ok(())
    }

    pub(crate) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        let dir = self.dir_mut(dir)?;
        dir.synced.clone_from(&dir.live);
        dir.pending.clear();
        Ok(())
    }

    pub(crate) fn remove_file(&mut self, file: &Path) -> io::Result<()> {
        self.read(file)?;
        let (dir, name) = split(file)?;
        self.change(dir, Change::Remove(name))
    }

    pub(crate) fn remove_dir(&mut self, dir: &Path) -> io::Result<()> {
        if !self.dir(dir)?.live.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let (dir, name) = split(dir)?;
        self.change(dir, Change::Remove(name))
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        if self.dir(to).is_ok_and(|replaced| !replaced.live.is_empty()) {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let ((from, old), (to, new)) = (split(from)?, split(to)?);
        if from == to {
            return self.change(from, Change::Rename(old, new, node));
        }
        self.change(to, Change::Add(new, node))?;
        self.change(from, Change::Remove(old))
    }

    /// The image after a power cut; nothing in it is left to be synced.
    pub(crate) fn after_power_cut(&self, seed: u64) -> Image {
        let mut survival = Survival::new(seed);
        let mut nodes = self.nodes.clone();
        for node in &mut nodes {
            match node {
                Node::File(file) if file.live != file.synced => {
                    file.live = survival.of_file(&file.live, &file.synced);
                    file.synced.clone_from(&file.live);
                }
                Node::File(_) => {}
                Node::Dir(dir) => {
                    let pending = std::mem::take(&mut dir.pending);
                    let survived = pending.into_iter().filter(|_| survival.of_change());
                    survived.for_each(|change| change.apply(&mut dir.synced));
                    dir.live.clone_from(&dir.synced);
                }
            }
        }
        Image { nodes }
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        if self.find(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let (dir, name) = split(path)?;
        self.dir(dir)?;
        self.nodes.push(node);
        let node = self.nodes.len() - 1;
        self.change(dir, Change::Add(name, node))?;
        Ok(node)
    }

    fn change(&mut self, dir: &Path, change: Change) -> io::Result<()> {
        let dir = self.dir_mut(dir)?;
        change.clone().apply(&mut dir.live);
        dir.pending.push(change);
        Ok(())
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut node = 0;
        for component in path.components() {
            let name = match component {
                Component::RootDir | Component::CurDir => continue,
                Component::Normal(name) => name.to_string_lossy(),
                Component::Prefix(_) | Component::ParentDir => return Err(ErrorKind::InvalidInput.into()),
            };
            let Node::Dir(dir) = &self.nodes[node] else { return Err(ErrorKind::NotADirectory.into()) };
            node = *dir.live.get(&*name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    fn dir(&self, path: &Path) -> io::Result<&Dir> {
        match &self.nodes[self.find(path)?] {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn dir_mut(&mut self, path: &Path) -> io::Result<&mut Dir> {
        let node = self.find(path)?;
        match &mut self.nodes[node] {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn file_mut(&mut self, node: usize) -> io::Result<&mut File> {
        match self.nodes.get_mut(node) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }
}

impl Change {
    fn apply(self, names: &mut Names) {
        match self {
            Change::Add(name, node) => drop(names.insert(name, node)),
            Change::Remove(name) => drop(names.remove(&name)),
            Change::Rename(from, to, node) => {
                names.remove(&from);
                names.insert(to, node);
            }
        }
    }
}

/// The directory that holds `path`, and its name there.
fn split(path: &Path) -> io::Result<(&Path, String)> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let dir = path.parent().unwrap_or(Path::new(""));
    Ok((dir, name.to_string_lossy().into_owned()))
}
