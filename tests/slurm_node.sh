#!/usr/bin/env bash
# A whole Slurm cluster of one node on the loopback, for tests: slurm_node.sh start|stop FOLDER
# Needs root and Debian's slurm-wlm and munge; state, logs and configuration live in FOLDER. No accounting, as on small clusters.
# A job that is queued again waits until its credential ends (cred_expire), by default two minutes.
set -euo pipefail
action=$1 folder=$2 host=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf

memory=$(awk "/MemTotal/ {print int(\$2 / 1024 * 0.9)}" /proc/meminfo)

# munged refuses a key, log, seed or socket folder that is not its own, as files of an earlier daemon under another user are.
start_munged() {
  install -d -o munge -g munge -m 700 /etc/munge
  install -d -o munge -g munge -m 755 /run/munge /var/log/munge /var/lib/munge
  [ -s /etc/munge/munge.key ] || dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none
  chown -R munge:munge /etc/munge /run/munge /var/log/munge /var/lib/munge
  chmod 400 /etc/munge/munge.key
  runuser -u munge -- /usr/sbin/munged --force
  for _ in $(seq 20); do
    munge -n </dev/null >/dev/null 2>&1 && return 0
    sleep 0.5
  done
  echo "munged does not answer" >&2 && return 1
}

start() {
  mkdir -p "$folder"/{state,spool} && chmod 755 "$folder"
  munge -n </dev/null >/dev/null 2>&1 || start_munged
  cat >"$SLURM_CONF" <<CONF
ClusterName=warmth
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=6827
SlurmdPort=6828
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=20
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SchedulerParameters=batch_sched_delay=1,sched_interval=2
MinJobAge=5
KillWait=40
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=$memory State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
  slurmctld -f "$SLURM_CONF"
  slurmd -f "$SLURM_CONF"
  for _ in $(seq 60); do
    sinfo --noheader --format %T 2>/dev/null | grep -q idle && return 0
    sleep 0.5
  done
  echo "no idle node after 30 s" >&2 && cat "$folder"/*.log >&2 && return 1
}

stop() {
  for daemon in slurmd slurmctld; do
    [ -f "$folder/$daemon.pid" ] && kill "$(cat "$folder/$daemon.pid")" 2>/dev/null || true
  done
}

"$action"
