//! The first programs of `Runner` and `FitLoop`: their length without imports, data and network.

use crate::torchtnt::{length, read};

#[test]
fn the_first_programs_of_runner_and_fit_loop_are_short() {
    const PROGRAMS: [(&str, usize); 4] = [
        ("examples/runner_minimal.rs", 12),
        ("examples/fitloop_basic.rs", 20),
        ("crates/regimen-torch/examples/runner-minimal-torch.rs", 12),
        ("crates/regimen-torch/examples/fitloop-basic-torch.rs", 20),
    ];
    for (path, most) in PROGRAMS {
        let program = read(path);
        let (_, main) = program.split_once("\nfn main()").unwrap();
        let (main, _) = main.split_once("\n}\n").unwrap();
        // The closing brace is behind it.
        let lines = length(main) + 1;
        assert!(lines <= most, "{path} has {lines} lines in `main`, at most {most} are asked for");
    }
}
