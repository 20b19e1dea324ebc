//! Compiles the C++ in `shim/` against the libtorch that torch-sys has found.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The libtorch version of torch-sys 0.24 and of the shim.
const VERSION: (&str, &str) = ("2", "11");

const REMEDY: &str = "run `cargo xtask libtorch`, or set LIBTORCH to the folder of libtorch 2.11.0, as its \
                      archive at pytorch.org or an installed Python package `torch` has it";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let lib =
        env::var("DEP_TCH_LIBTORCH_LIB").map_err(|_| format!("torch-sys names no libtorch: {REMEDY}"))?;
    let lib = PathBuf::from(lib);
    let home = env::var_os("LIBTORCH_INCLUDE").map(PathBuf::from);
    let home = home.or_else(|| lib.parent().map(Path::to_owned)).unwrap_or_default();
    check_version(&home)?;
    if !lib.join("libtorch_cpu.so").exists() && cfg!(target_os = "linux") {
        return Err(format!("{} has no libtorch_cpu.so: {REMEDY}", lib.display()).into());
    }
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        // The headers of libtorch are not ours to warn about.
        .flag_if_supported("-Wno-unused-parameter")
        .flag_if_supported("-Wno-stringop-overflow")
        // As libtorch is compiled: types in its headers have other members without it.
        .define("NDEBUG", None)
        .define("_GLIBCXX_USE_CXX11_ABI", &*env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".into()))
        .include(home.join("include"))
        .include(home.join("include/torch/csrc/api/include"))
        .file("shim/script.cpp")
        .file("shim/shim.cpp")
        .file("shim/activations.cpp")
        .file("shim/record.cpp")
        .compile("regimen_torch");
    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
    Ok(())
}

/// Refuses another libtorch by name, before the compiler refuses it in a thousand lines.
fn check_version(home: &Path) -> Result<(), Box<dyn Error>> {
    let files = ["include/torch/headeronly/version.h", "include/torch/csrc/api/include/torch/version.h"];
    let text = files.iter().find_map(|file| fs::read_to_string(home.join(file)).ok());
    let Some(text) = text else {
        return Err(format!("there are no headers of libtorch in {}: {REMEDY}", home.display()).into());
    };
    let defined = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix("#define ")?.strip_prefix(name))?;
        Some(line.trim().to_owned())
    };
    let found = (defined("TORCH_VERSION_MAJOR"), defined("TORCH_VERSION_MINOR"));
    match found {
        (Some(major), Some(minor)) if (&*major, &*minor) == VERSION => Ok(()),
        (Some(major), Some(minor)) => Err(format!(
            "{} is libtorch {major}.{minor}, and this crate needs {}.{}: {REMEDY}",
            home.display(),
            VERSION.0,
            VERSION.1
        )
        .into()),
        _ => Err(format!("the headers in {} tell no version: {REMEDY}", home.display()).into()),
    }
}
