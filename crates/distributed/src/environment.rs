//! Which of the processes of a job this one is, from the variables that torchrun sets, or SLURM, or MPI.

use std::time::Duration;

use crate::error::DistributedError;
use crate::scheduler::said;

/// Seconds that a collective may take.
const TIMEOUT_VARIABLE: &str = "DISTRIBUTED_TIMEOUT_S";
/// With it, one process opens what several do.
const GROUP_OF_ONE: &str = "DISTRIBUTED_GROUP_OF_ONE";
/// Longer than the leader may need for a checkpoint or a picture, while the others wait for it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// This process among those of its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Number of this process, from 0.
    pub rank: usize,
    /// Number of processes.
    pub world_size: usize,
    /// Its number among those of this machine, which chooses its device.
    pub local_rank: usize,
    /// Where rank 0 listens; not used by a single process.
    pub master: (String, u16),
    /// How long a collective may take, and all ranks to find each other.
    pub timeout: Duration,
    /// How often the job was started again after a failure.
    pub restarts: u64,
    /// torchrun listens at `master`, in rank 0's place.
    pub agent_listens: bool,
    /// A process by itself forms a process group too, which tries Gloo or NCCL on a machine with one GPU.
    pub group_of_one: bool,
}

impl Environment {
    /// Reads this process's environment.
    ///
    /// # Errors
    /// A variable that is missing or wrong; one of several tasks that do not know each other.
    pub fn read() -> Result<Self, DistributedError> {
        let variable = |name: &str| std::env::var(name).ok();
        let said = said(&variable)?;
        Self::from_variables(&|name| said.get(name).cloned().or_else(|| variable(name)))
    }

    /// A process by itself.
    pub fn single() -> Self {
        Self {
            rank: 0,
            world_size: 1,
            local_rank: 0,
            master: (String::new(), 0),
            timeout: DEFAULT_TIMEOUT,
            restarts: 0,
            agent_listens: false,
            group_of_one: false,
        }
    }

    fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, DistributedError> {
        let number = |name| number(name, variable(name));
        let single = Self {
            restarts: number("TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0) as u64,
            local_rank: number("LOCAL_RANK")?.unwrap_or(0),
            group_of_one: flag(GROUP_OF_ONE, variable(GROUP_OF_ONE))?,
            ..Self::single()
        };
        let world_size = match (number("WORLD_SIZE")?, number("RANK")?) {
            (Some(0), _) => return Err(wrong("WORLD_SIZE", "is 0; a job has at least one process")),
            (Some(world_size), _) => world_size,
            (None, Some(_)) => return Err(wrong("WORLD_SIZE", "is not set, but RANK is; set both or none")),
            (None, None) if single.group_of_one => {
                return Err(wrong(GROUP_OF_ONE, "is set; start the process by train-cli launch --nproc 1"));
            }
            (None, None) => return Ok(single),
        };
        if world_size == 1 && !single.group_of_one {
            return Ok(single);
        }
        let missing = |name, what| missing(name, what, world_size);
        let rank = number("RANK")?.ok_or_else(|| missing("RANK", "the number of this process, from 0"))?;
        if rank >= world_size {
            return Err(wrong(
                "RANK",
                &format!("is {rank}, but WORLD_SIZE is {world_size}; ranks go from 0 to {}", world_size - 1),
            ));
        }
        let master = master(variable, world_size)?;
        let timeout = match number(TIMEOUT_VARIABLE)? {
            None => DEFAULT_TIMEOUT,
            Some(0) => return Err(wrong(TIMEOUT_VARIABLE, "is 0; give at least a second")),
            Some(seconds) => Duration::from_secs(seconds as u64),
        };
        Ok(Self {
            rank,
            world_size,
            local_rank: number("LOCAL_RANK")?.unwrap_or(rank),
            master,
            timeout,
            agent_listens: variable("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True"),
            ..single
        })
    }
}

/// Where rank 0 listens: host and port.
fn master(
    variable: &dyn Fn(&str) -> Option<String>,
    world_size: usize,
) -> Result<(String, u16), DistributedError> {
    let missing = |name, what| missing(name, what, world_size);
    let host = variable("MASTER_ADDR").filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| missing("MASTER_ADDR", "the address of rank 0's machine"))?;
    let port = number("MASTER_PORT", variable("MASTER_PORT"))?;
    let port = u16::try_from(port.ok_or_else(|| missing("MASTER_PORT", "a free port there"))?);
    let port = port.ok().filter(|port| *port > 0);
    Ok((host, port.ok_or_else(|| wrong("MASTER_PORT", "is no port; ports go from 1 to 65535"))?))
}

fn missing(variable: &'static str, what: &str, world_size: usize) -> DistributedError {
    let reason = format!(
        "is not set, but WORLD_SIZE is {world_size}; set it to {what}, or start the processes with train-cli \
         launch or torchrun"
    );
    wrong(variable, &reason)
}

fn wrong(variable: &'static str, reason: &str) -> DistributedError {
    DistributedError::Environment { variable, reason: reason.to_owned() }
}

fn flag(name: &'static str, value: Option<String>) -> Result<bool, DistributedError> {
    match number(name, value)? {
        None | Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(other) => Err(wrong(name, &format!("is {other}; 1 is yes, 0 is no"))),
    }
}

fn number(name: &'static str, value: Option<String>) -> Result<Option<usize>, DistributedError> {
    let Some(value) = value else { return Ok(None) };
    // What no process could count to is a slip as well.
    let number = value.trim().parse::<u32>();
    number
        .map(|number| Some(number as usize))
        .map_err(|_| wrong(name, &format!("is `{value}`, which is no whole number of 0 or more")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, DistributedError> {
        Environment::from_variables(&|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const TWO: [(&str, &str); 4] =
        [("WORLD_SIZE", "2"), ("RANK", "1"), ("MASTER_ADDR", "10.0.0.1"), ("MASTER_PORT", "29500")];

    #[test]
    fn a_process_of_torchrun_knows_its_place() {
        let more = [("LOCAL_RANK", "0"), ("TORCHELASTIC_RESTART_COUNT", "3"), (TIMEOUT_VARIABLE, "30")];
        let found = read(&[&TWO[..], &more].concat()).unwrap();
        assert_eq!((found.rank, found.world_size, found.local_rank), (1, 2, 0));
        assert_eq!(found.master, ("10.0.0.1".to_owned(), 29500));
        assert_eq!((found.restarts, found.timeout), (3, Duration::from_secs(30)));
        assert!(!found.agent_listens);
        assert_eq!(read(&TWO).unwrap().local_rank, 1);
    }

    #[test]
    fn a_process_alone_needs_no_variables() {
        assert_eq!(read(&[]).unwrap(), Environment::single());
        assert_eq!(read(&[("WORLD_SIZE", "1"), ("RANK", "0")]).unwrap(), Environment::single());
    }

    #[test]
    fn a_process_alone_forms_a_group_if_asked() {
        let asked = (GROUP_OF_ONE, "1");
        let one = [
            ("WORLD_SIZE", "1"),
            ("RANK", "0"),
            ("MASTER_ADDR", "localhost"),
            ("MASTER_PORT", "2000"),
            asked,
        ];
        let found = read(&one).unwrap();
        assert!(found.group_of_one);
        assert_eq!((found.rank, found.world_size, found.master), (0, 1, ("localhost".to_owned(), 2000)));
        let message = |variables: &[(&str, &str)]| read(variables).unwrap_err().to_string();
        assert!(message(&[asked]).contains("launch --nproc 1"));
        assert!(message(&[&one[..3], &[asked]].concat()).contains("MASTER_PORT is not set"));
        assert!(message(&[(GROUP_OF_ONE, "2")]).contains("1 is yes"));
        assert!(!read(&[(GROUP_OF_ONE, "0")]).unwrap().group_of_one);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let message = |variables: &[(&str, &str)]| read(variables).unwrap_err().to_string();
        let with = |name: &str, value: &'static str| {
            let mut variables = TWO;
            variables.iter_mut().find(|(key, _)| *key == name).unwrap().1 = value;
            message(&variables)
        };
        for (missing, _) in &TWO[1..] {
            let variables: Vec<_> = TWO.into_iter().filter(|(key, _)| key != missing).collect();
            let message = message(&variables);
            assert!(message.starts_with(&format!("{missing} is not set")), "{message}");
            assert!(message.contains("train-cli launch"), "{message}");
        }
        assert!(message(&[("RANK", "0")]).contains("WORLD_SIZE is not set, but RANK is"));
        assert!(with("RANK", "2").contains("RANK is 2, but WORLD_SIZE is 2; ranks go from 0 to 1"));
        assert!(with("RANK", "-1").contains("RANK is `-1`, which is no whole number"));
        assert!(with("WORLD_SIZE", "two").contains("WORLD_SIZE is `two`"));
        assert!(with("WORLD_SIZE", "0").contains("at least one process"));
        assert!(with("MASTER_ADDR", "").contains("MASTER_ADDR is not set"));
        for port in ["0", "70000"] {
            assert!(with("MASTER_PORT", port).contains("MASTER_PORT is no port"));
        }
    }
}
