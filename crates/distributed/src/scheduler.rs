//! What SLURM and MPI say of a process, in the variables of torchrun.

use std::collections::BTreeMap;

use crate::error::DistributedError;

/// Looks a variable of the environment up.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variables of torchrun, as far as a scheduler says them.
pub(crate) type Said = BTreeMap<&'static str, String>;

/// Ports that jobs meet at where nobody says one.
const PORTS: std::ops::Range<u64> = 20_000..30_000;

/// How a launcher of processes names what torchrun calls `WORLD_SIZE`, `RANK` and `LOCAL_RANK`, and how many
/// processes are on this machine.
struct Launcher {
    world_size: &'static str,
    rank: &'static str,
    local_rank: &'static str,
    local_size: &'static str,
    /// What is the same for all processes of a job, and differs from job to job.
    job: [&'static str; 2],
}

const SLURM: Launcher = Launcher {
    world_size: "SLURM_NTASKS",
    rank: "SLURM_PROCID",
    local_rank: "SLURM_LOCALID",
    local_size: "SLURM_STEP_TASKS_PER_NODE",
    job: ["SLURM_JOB_ID", "SLURM_STEP_ID"],
};
/// Open MPI; and MPICH with its relatives.
const MPI: [Launcher; 2] = [
    Launcher {
        world_size: "OMPI_COMM_WORLD_SIZE",
        rank: "OMPI_COMM_WORLD_RANK",
        local_rank: "OMPI_COMM_WORLD_LOCAL_RANK",
        local_size: "OMPI_COMM_WORLD_LOCAL_SIZE",
        job: ["PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"],
    },
    Launcher {
        world_size: "PMI_SIZE",
        rank: "PMI_RANK",
        local_rank: "MPI_LOCALRANKID",
        local_size: "MPI_LOCALNRANKS",
        job: ["PMI_JOBID", "PMI_NAMESPACE"],
    },
];

/// What a scheduler says of this process; nothing where torchrun or `launch` has set its own variables, and
/// for a process by itself.
///
/// # Errors
/// One of several tasks that would each start a run of their own.
pub(crate) fn said(variable: Variable) -> Result<Said, DistributedError> {
    if ["WORLD_SIZE", "RANK"].into_iter().any(|name| variable(name).is_some()) {
        return Ok(Said::new());
    }
    let [open_mpi, mpich] = &MPI;
    if open_mpi.is_of_several(variable) {
        return Ok(open_mpi.said(variable, None));
    }
    let steps = ["SLURM_STEP_ID", "SLURM_STEPID", "SLURM_STEP_NUM_TASKS"];
    let is_step = steps.into_iter().any(|name| variable(name).is_some());
    // A step of SLURM knows more than what it tells MPICH.
    if mpich.is_of_several(variable) && !(is_step && SLURM.is_of_several(variable)) {
        return Ok(mpich.said(variable, None));
    }
    if !SLURM.is_of_several(variable) {
        return Ok(Said::new());
    }
    if !is_step {
        let reason = format!(
            "is {}, and this process was not started by srun: it would train alone beside idle tasks. Start it \
             with srun, or with train-cli launch; WORLD_SIZE=1 says that one process is meant",
            variable(SLURM.world_size).unwrap_or_default()
        );
        return Err(DistributedError::Environment { variable: SLURM.world_size, reason });
    }
    // A step may have fewer tasks than its job.
    let step = |name: &str| match name {
        "SLURM_NTASKS" => variable("SLURM_STEP_NUM_TASKS").or_else(|| variable(name)),
        _ => variable(name),
    };
    if !SLURM.is_of_several(&step) {
        return Ok(Said::new());
    }
    let nodes = ["SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"];
    let first = nodes.into_iter().find_map(variable).and_then(|nodes| first_host(&nodes));
    Ok(SLURM.said(&step, first))
}

impl Launcher {
    fn is_of_several(&self, variable: Variable) -> bool {
        let several = |size: String| size.trim() != "1";
        variable(self.rank).is_some() && variable(self.world_size).is_some_and(several)
    }

    /// In the variables of torchrun; `master` is the machine of rank 0, if it is known.
    fn said(&self, variable: Variable, master: Option<String>) -> Said {
        let mut said = Said::new();
        let names = [("WORLD_SIZE", self.world_size), ("RANK", self.rank), ("LOCAL_RANK", self.local_rank)];
        for (name, theirs) in names {
            said.extend(variable(theirs).map(|value| (name, value)));
        }
        let together =
            variable(self.local_size).is_some_and(|local| Some(local) == variable(self.world_size));
        let master = if together { Some("127.0.0.1".to_owned()) } else { master };
        said.extend(variable("MASTER_ADDR").or(master).map(|host| ("MASTER_ADDR", host)));
        let port = variable("MASTER_PORT").or_else(|| self.port(variable));
        said.extend(port.map(|port| ("MASTER_PORT", port)));
        said
    }

    /// A port that all processes of a job find, and hardly another job.
    fn port(&self, variable: Variable) -> Option<String> {
        let job: Vec<_> = self.job.into_iter().filter_map(variable).collect();
        let sum = |sum: u64, byte: u8| sum.wrapping_mul(31).wrapping_add(u64::from(byte));
        let number = job.join(".").bytes().fold(0, sum);
        (!job.is_empty()).then(|| (PORTS.start + number % (PORTS.end - PORTS.start)).to_string())
    }
}

/// The first of `node[01-04,07],other`.
fn first_host(nodes: &str) -> Option<String> {
    let (bracket, comma) = (nodes.find('['), nodes.find(',').unwrap_or(nodes.len()));
    let Some(bracket) = bracket.filter(|bracket| *bracket < comma) else {
        return Some(nodes[..comma].trim().to_owned()).filter(|host| !host.is_empty());
    };
    let (prefix, rest) = nodes.split_at(bracket);
    let (numbers, suffix) = rest[1..].split_once(']')?;
    let first = numbers.split([',', '-']).next()?;
    let suffix = suffix.split(',').next().unwrap_or_default();
    // Names with several brackets, as of racks and slots.
    first_host(&format!("{prefix}{first}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said_of(variables: &[(&str, &str)]) -> Result<Said, DistributedError> {
        said(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_first_host_of_a_list_is_that_of_rank_0() {
        for (nodes, expected) in [
            ("gpu7", "gpu7"),
            ("a,b", "a"),
            ("node[01-04,07]", "node01"),
            ("node[3,5-9]-ib,other", "node3-ib"),
            ("login,node[01-04]", "login"),
            ("r[1-2]n[08-11]", "r1n08"),
        ] {
            assert_eq!(first_host(nodes).as_deref(), Some(expected), "{nodes}");
        }
        assert_eq!(first_host(""), None);
        assert_eq!(first_host("node[1"), None);
    }

    #[test]
    fn tasks_of_srun_know_their_place() {
        let step = [
            ("SLURM_JOB_ID", "123"),
            ("SLURM_STEP_ID", "0"),
            ("SLURM_NTASKS", "8"),
            ("SLURM_STEP_NUM_TASKS", "4"),
            ("SLURM_PROCID", "3"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_STEP_NODELIST", "gpu[04-05]"),
        ];
        let found = said_of(&step).unwrap();
        let pairs: Vec<_> = found.iter().map(|(name, value)| (*name, &value[..])).collect();
        let port = &found["MASTER_PORT"];
        let expected = [
            ("LOCAL_RANK", "1"),
            ("MASTER_ADDR", "gpu04"),
            ("MASTER_PORT", &port[..]),
            ("RANK", "3"),
            ("WORLD_SIZE", "4"),
        ];
        assert_eq!(pairs, expected);
        assert!(PORTS.contains(&port.parse().unwrap()));
        // As `srun --mpi=pmi2` has it.
        let pmi = [&step[..], &[("PMI_SIZE", "4"), ("PMI_RANK", "3"), ("PMI_JOBID", "123.0")]].concat();
        assert_eq!(said_of(&pmi).unwrap(), found);
        let mut other = step;
        other[4].1 = "0";
        assert_eq!(&said_of(&other).unwrap()["MASTER_PORT"], port, "the same for all ranks");
        other[0].1 = "124";
        assert_ne!(&said_of(&other).unwrap()["MASTER_PORT"], port);
        let asked = [&step[..], &[("MASTER_ADDR", "here"), ("MASTER_PORT", "7")]].concat();
        let found = said_of(&asked).unwrap();
        assert_eq!((&found["MASTER_ADDR"][..], &found["MASTER_PORT"][..]), ("here", "7"));
        // One task of a job of several, and what torchrun has set.
        let one = [&step[..3], &[("SLURM_STEP_NUM_TASKS", "1"), ("SLURM_PROCID", "0")]].concat();
        assert!(said_of(&one).unwrap().is_empty());
        assert!(said_of(&[&step[..], &[("WORLD_SIZE", "1")]].concat()).unwrap().is_empty());
    }

    #[test]
    fn a_batch_script_of_several_tasks_is_refused_by_name() {
        let script = [("SLURM_JOB_ID", "1"), ("SLURM_NTASKS", "4"), ("SLURM_PROCID", "0")];
        let message = said_of(&script).unwrap_err().to_string();
        assert!(message.starts_with("SLURM_NTASKS is 4") && message.contains("srun"), "{message}");
        assert!(said_of(&[("SLURM_NTASKS", "1"), ("SLURM_PROCID", "0")]).unwrap().is_empty());
        // In an interactive allocation no process has a number.
        assert!(said_of(&[("SLURM_NTASKS", "4")]).unwrap().is_empty());
    }

    #[test]
    fn processes_of_mpirun_know_their_place() {
        let mpi = [
            ("OMPI_COMM_WORLD_SIZE", "2"),
            ("OMPI_COMM_WORLD_RANK", "1"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
            ("PMIX_NAMESPACE", "prterun-host-77@1"),
        ];
        let found = said_of(&mpi).unwrap();
        assert_eq!((&found["RANK"][..], &found["WORLD_SIZE"][..]), ("1", "2"));
        assert_eq!(found["MASTER_ADDR"], "127.0.0.1");
        assert!(found.contains_key("MASTER_PORT"));
        let mut apart = mpi;
        apart[3].1 = "1";
        assert!(!said_of(&apart).unwrap().contains_key("MASTER_ADDR"), "nobody says where rank 0 is");
        let mpich = [("PMI_SIZE", "2"), ("PMI_RANK", "0")];
        assert_eq!(said_of(&mpich).unwrap()["WORLD_SIZE"], "2");
    }
}
