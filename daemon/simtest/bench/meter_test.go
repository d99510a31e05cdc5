package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The test binary is also the two programs that it measures with: it runs as
// one of them when this variable says so.
const (
	role        = "IMAPSYNCD_BENCH_ROLE"
	roleMeter   = "meter"
	roleCeiling = "ceiling"
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(role) {
	case roleMeter:
		err = meterMain()
	case roleCeiling:
		var c ceiling
		if err = json.Unmarshal([]byte(os.Args[1]), &c); err == nil {
			err = c.run()
		}
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// order is what the meter is to run.
type order struct {
	Commands [][]string
	Env      []string
	Parallel int // so many at a time
}

// usage is what the commands of an order took, together.
type usage struct {
	Wall time.Duration
	CPU  time.Duration // user and system
	RSS  int64         // octets, peak of the largest process
	// Commands is how many were sent to the server that is far, if one is.
	Commands int64
	Err      string // of the first command that failed, with what it said; "": none
}

// measure runs an order by way of a small process of its own: Linux has a
// process begin with the peak RSS of the one that started it, which for a test
// that makes mail is not small.
func measure(t testing.TB, o order) usage {
	t.Helper()
	request, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), role+"="+roleMeter)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(request), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("meter: %v", err)
	}
	var u usage
	if err := json.Unmarshal(out, &u); err != nil {
		t.Fatalf("meter: %v: %s", err, out)
	}
	return u
}

// meterMain reads an order on standard input and writes its usage to standard
// output.
func meterMain() error {
	var o order
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return err
	}
	queue := make(chan []string, len(o.Commands))
	for _, c := range o.Commands {
		queue <- c
	}
	close(queue)
	var (
		mu    sync.Mutex
		total usage
		all   sync.WaitGroup
	)
	begun := time.Now()
	for range max(o.Parallel, 1) {
		all.Go(func() {
			for argv := range queue {
				cmd := exec.Command(argv[0], argv[1:]...)
				cmd.Env = o.Env
				cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
				out, err := cmd.CombinedOutput()
				mu.Lock()
				if err != nil && total.Err == "" {
					total.Err = fmt.Sprintf("%v: %s", err, out[max(0, len(out)-500):])
				}
				if cmd.ProcessState != nil {
					used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
					total.CPU += time.Duration(used.Utime.Nano() + used.Stime.Nano())
					total.RSS = max(total.RSS, used.Maxrss<<10)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	total.Wall = time.Since(begun)
	return json.NewEncoder(os.Stdout).Encode(total)
}
