//! What a process that holds secrets asks of the kernel before it has any.

use rustix::{
    io,
    process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior, setrlimit},
};

/// Sees to it that memory never gets into a core dump, nor to a debugger of the same user.
///
/// The limit alone does not hold where the kernel hands cores to a program (`core_pattern` with a pipe); that a process is
/// not dumpable does, and keeps `/proc/PID/mem` from other processes of the user. With both there is no core anywhere.
pub fn keep_memory_private() -> io::Result<()> {
    let mut core = getrlimit(Resource::Core);
    (core.current, core.maximum) = (Some(0), Some(0));
    setrlimit(Resource::Core, core)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Lets the process have as many files and connections open as its hard limit allows: the soft one is low for the sake of
/// programs that cannot count further than 1,024.
pub fn use_all_descriptors() -> io::Result<()> {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files)
}
