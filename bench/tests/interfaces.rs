//! Allocations of a step by its interface. This is the file's only test, as the counter is global.

use regimen_bench::{Counting, Interface, allocations, small_run};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn no_interface_allocates_more_in_a_step_than_one_by_hand() {
    let allocated = |interface, metric, steps| {
        let before = allocations();
        small_run(interface, metric, steps).unwrap();
        allocations() - before
    };
    for metric in [false, true] {
        let added = |interface| allocated(interface, metric, 1_010) - allocated(interface, metric, 10);
        let by_hand = added(Interface::Hand);
        assert!(by_hand >= 1_000, "the toy engine allocates, so this is a broken counter: {by_hand}");
        for interface in [Interface::AutoUnit, Interface::Runner, Interface::FitLoop] {
            // `FitLoop` keeps the values of an epoch in lists, each of which doubles seven times.
            let lists = if interface == Interface::FitLoop { 60 } else { 0 };
            let added = added(interface);
            assert!(
                added <= by_hand + lists,
                "{interface:?}, metric {metric}: {added} and {by_hand} by hand"
            );
        }
    }
}
