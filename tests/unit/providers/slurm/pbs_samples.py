"""Outputs of PBS, written by hand after published ones; no PBS was run for them.

The shapes are those of `qstat -f -F json` of 19.0.0 and 20.0.1, `pbsnodes -F json` of 19.2.6 and `qstat -Q -f -F json`
of 20.0.1 and 2022.1 that users have published with their tools, and of OpenPBS's own description of jobs, vnodes and
queues (pbs_job_attributes(7B), pbs_node_attributes(7B), pbs_queue_attributes(7B)). Names and numbers are made up. What
is no JSON in them is what OpenPBS's issues 1255 and 2603 and its pull requests 830 and 2049 show.
"""

from __future__ import annotations

NODES = """{
    "timestamp":1795354171,
    "pbs_version":"20.0.1",
    "pbs_server":"pbs01",
    "nodes":{
        "gpu01":{
            "Mom":"gpu01.example",
            "Port":15002,
            "pbs_version":"20.0.1",
            "ntype":"PBS",
            "state":"free",
            "pcpus":64,
            "resources_available":{
                "arch":"linux",
                "gpu_model":"a100",
                "host":"gpu01",
                "mem":"524288000kb",
                "ncpus":64,
                "ngpus":4,
                "Qlist":"gpu,debug",
                "vnode":"gpu01"
            },
            "resources_assigned":{
                "accelerator_memory":"0kb",
                "mem":"0kb",
                "ncpus":0,
                "ngpus":0
            },
            "comment":"back since \\'Monday\\', says \\"ops\\"",
            "resv_enable":"True",
            "sharing":"default_shared",
            "last_state_change_time":1795300000
        },
        "gpu02":{
            "Mom":"gpu02.example",
            "ntype":"PBS",
            "state":"job-busy",
            "pcpus":64,
            "jobs":[
                "1201.pbs01/0"
            ],
            "resources_available":{
                "gpu_model":"a100",
                "host":"gpu02",
                "mem":"524288000kb",
                "ncpus":64,
                "ngpus":4,
                "Qlist":"gpu",
                "vnode":"gpu02"
            },
            "resources_assigned":{
                "mem":"1048576kb",
                "ncpus":64,
                "ngpus":1
            }
        },
        "gpu03":{
            "state":"offline,job-exclusive",
            "resources_available":{
                "gpu_model":"a100",
                "host":"gpu03",
                "mem":"500gb",
                "ncpus":64,
                "ngpus":4,
                "Qlist":"gpu"
            },
            "resources_assigned":{
            }
        },
        "fat01[0]":{
            "state":"free",
            "resources_available":{
                "gpu_model":"h100",
                "host":"fat01",
                "mem":"512gb",
                "ncpus":48,
                "ngpus":4,
                "Qlist":"fat"
            },
            "resources_assigned":{
                "ngpus":0
            }
        },
        "fat01[1]":{
            "state":"free",
            "resources_available":{
                "gpu_model":"h100",
                "host":"fat01",
                "mem":"512gb",
                "ncpus":48,
                "ngpus":4,
                "Qlist":"fat"
            },
            "resources_assigned":{
                "ngpus":0
            }
        },
        "cpu01":{
            "state":"free",
            "queue":"cpu",
            "resources_available":{
                "host":"cpu01",
                "mem":"131072000kb",
                "ncpus":32,
                "vnode":"cpu01"
            },
            "resources_assigned":{
            }
        }
    }
}
"""

QUEUES = """{
    "timestamp":1795354171,
    "pbs_version":"20.0.1",
    "pbs_server":"pbs01",
    "Queue":{
        "gpu":{
            "queue_type":"Execution",
            "Priority":100,
            "total_jobs":1,
            "state_count":"Transit:0 Queued:0 Held:0 Waiting:0 Running:1 Exiting:0 Begun:0 ",
            "max_queued":"[u:PBS_GENERIC=5]",
            "resources_max":{
                "nodect":2,
                "walltime":"24:00:00"
            },
            "resources_default":{
                "ncpus":1,
                "preempt_targets":"QUEUE=debug",
                "walltime":"01:00:00"
            },
            "default_chunk":{
                "mem":"8gb",
                "ncpus":16,
                "Qlist":"gpu"
            },
            "enabled":"True",
            "started":"True"
        },
        "debug":{
            "queue_type":"Execution",
            "resources_max":{
                "walltime":"30:00"
            },
            "default_chunk":{
                "Qlist":"debug"
            },
            "enabled":"True",
            "started":"True"
        },
        "fat":{
            "queue_type":"Execution",
            "default_chunk":{
                "Qlist":"fat"
            },
            "enabled":"True",
            "started":"False"
        },
        "cpu":{
            "queue_type":"Execution",
            "hasnodes":"True",
            "resources_max":{
                "ngpus":0
            },
            "enabled":"True",
            "started":"True"
        },
        "workq":{
            "queue_type":"Route",
            "route_destinations":"gpu,cpu",
            "enabled":"True",
            "started":"True"
        },
        "inner":{
            "queue_type":"Execution",
            "from_route_only":"True",
            "enabled":"True",
            "started":"True"
        }
    }
}
"""

# One job; the places in it are filled by tests.
JOB = """
        "%(id)s":{
            "Job_Name":"%(name)s",
            "Job_Owner":"me@login01",
            "resources_used":{
                "cpupercent":0,
                "cput":"00:00:00",
                "mem":"0kb",
                "ncpus":64,
                "walltime":"00:00:10"
            },
            "job_state":"%(state)s",
            "queue":"gpu",
            "server":"pbs01",
            "ctime":"Sun Nov 22 13:00:00 2026",
            "Error_Path":"login01:/dev/null",
            %(placed)s
            "Hold_Types":"n",
            "Join_Path":"oe",
            "Rerunable":"False",
            "Resource_List":{
                "mem":"1000gb",
                "ncpus":128,
                "ngpus":8,
                "nodect":2,
                "place":"scatter:exclhost",
                "select":"2:ncpus=64:mem=512000mb:ngpus=4:gpu_model=a100",
                "walltime":"02:00:00"
            },
            "substate":%(substate)s,
            "Variable_List":{
                "PBS_O_HOME":"/home/me",
                "PBS_O_LANG":"en_US.UTF-8",
                "PBS_O_PATH":"/usr/local/bin:/usr/bin:/bin",
                "PBS_O_WORKDIR":"/home/me/it's, \\,here\\, and C:\\temp",
                "PBS_O_HOST":"login01",
                "BUILD":005,
                "RATIO":.5,
                "NAME":inf,
                "ISOFLOP_LEASE":"%(lease)s"
            },
            "comment":"%(comment)s",
            "run_count":%(runs)s,
            "project":"_pbs_project_default"
        }"""
PLACED = """"exec_host":"gpu01/0*64+gpu02/0*64",
            "exec_host2":"gpu01.example:15002/0*64+gpu02.example:15002/0*64",
            "exec_vnode":"(gpu01:ncpus=64:ngpus=4)+(gpu02:ncpus=64:ngpus=4)",
            "stime":"Sun Nov 22 13:00:05 2026","""
HEADER = '{\n    "timestamp":1795354171,\n    "pbs_version":"20.0.1",\n    "pbs_server":"pbs01"'


def jobs(*listed: str) -> str:
    """The output of `qstat -f -F json`; of no job there is no key for jobs."""
    if not listed:
        return HEADER + "\n}\n"
    return HEADER + ',\n    "Jobs":{' + ",".join(listed) + "\n    }\n}\n"


def job(identifier: str, **changes: object) -> str:
    """One job of it, running unless told otherwise."""
    told = {"name": "x", "state": "R", "substate": 42, "placed": PLACED, "lease": "", "comment": "", "runs": 1}
    return JOB % {"id": identifier, **told, **changes}
