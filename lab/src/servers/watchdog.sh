# Ends a server when the process that started it is gone. Arguments: the server's folder, the signal
# to end it with. Standard input is a pipe that only the starter holds: each line names a process
# (pid, start time in clock ticks since boot), the last one counts, and the pipe closes however the
# starter ends.
trap '' HUP INT TERM
while read -r pid born; do server=$pid since=$born; done

# The start time tells the server from a stranger that was given its pid later.
runs() {
    set -- $(sed 's/.*) //' "/proc/$server/stat" 2>/dev/null)
    [ "${20}" = "$since" ] && [ "$1" != Z ]
}

folder=$1 signal=$2
if [ -n "$server" ] && runs; then
    kill -s "$signal" "$server"
    # A frozen process notices nothing until it is thawed.
    kill -s CONT "$server" $(grep -l "^PPid:.$server\$" /proc/[0-9]*/status 2>/dev/null | cut -d/ -f3)
    tries=0
    while runs && [ $tries -lt 100 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    runs && kill -s KILL "$server"
fi
rm -rf "$folder"
