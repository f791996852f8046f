#!/bin/bash
# Workers as a job array:  sbatch --array=1-10 populate_scripts/slurm_worker.sh [TABLES]
#
# A task that is preempted or out of time goes back to SLURM's queue; the jobs that it was running are pending again.
# Database server: DJ_HOST, DJ_USER, DJ_PASS in the environment of sbatch, or datajoint.json in the home folder.
#SBATCH --job-name=meso
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=meso-%A_%a.log
# SLURM sends SIGTERM to this shell, two minutes before the end
#SBATCH --signal=B:TERM@120

set -u

meso worker --slots "${MESO_SLOTS:-2}" --until-done "$@" &
worker=$!
stopped=
trap 'stopped=yes; kill -TERM "$worker"' TERM
wait "$worker"
status=$?
while kill -0 "$worker" 2>/dev/null; do # the trapped signal ended the first wait; the worker is still giving back its jobs
    wait "$worker"
    status=$?
done

if [ "$stopped" ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
fi
exit "$status"
