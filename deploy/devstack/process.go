package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

const (
	// defaultGrace is more than the minute that milepost serve may take, which lets what is under way end.
	defaultGrace = 90 * time.Second
	logFileMode  = 0o644
)

var (
	// ErrOptions means that the options of a server make no sense.
	ErrOptions = errors.New("invalid options")
	// ErrForced means that a child ignored the polite signal and was killed.
	ErrForced = errors.New("killed after the grace period")
	// ErrExited means that a child ended before it was ready.
	ErrExited = errors.New("exited before it was ready")
)

// ProcessOptions describe a child process.
type ProcessOptions struct {
	// Name stands for the process in messages.
	Name string
	// Path is the program, Args its arguments without the program's name.
	Path string
	Args []string
	// Env is the whole environment; nil inherits the parent's.
	Env []string
	// Dir is the working directory; empty inherits the parent's.
	Dir string
	// LogFile receives standard output and error, appended; empty discards them.
	LogFile string
	// StopSignal is the polite signal Stop sends first; zero is SIGTERM.
	StopSignal syscall.Signal
	// Grace is how long Stop waits before it kills; zero is 90 s.
	Grace time.Duration
	// Credential runs the child under another account; nil keeps the parent's.
	Credential *syscall.Credential
}

// Process is one running child. It has a process group of its own, so that a
// Ctrl-C in the terminal does not reach it, and on Linux the kernel kills it
// when the parent dies, however the parent dies.
type Process struct {
	options ProcessOptions
	command *exec.Cmd
	exited  chan struct{}
	err     error
}

// StartProcess starts a child and returns as soon as it runs, ready or not.
func StartProcess(options ProcessOptions) (*Process, error) {
	if options.StopSignal == 0 {
		options.StopSignal = syscall.SIGTERM
	}
	if options.Grace == 0 {
		options.Grace = defaultGrace
	}

	//nolint:gosec,noctx // The program is the caller's choice, and Stop ends its life, not a context.
	command := exec.Command(options.Path, options.Args...)
	command.Env = options.Env
	command.Dir = options.Dir
	command.SysProcAttr = childAttributes(options.Credential)

	if options.LogFile != "" {
		log, err := os.OpenFile(options.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, logFileMode)
		if err != nil {
			return nil, fmt.Errorf("open the log of %s: %w", options.Name, err)
		}
		defer func() { _ = log.Close() }() // The child has a descriptor of its own.

		// A file, not a writer: nothing has to be copied by, or dies with, the parent.
		command.Stdout, command.Stderr = log, log
	}

	process := &Process{options: options, command: command, exited: make(chan struct{})}
	started := make(chan error, 1)
	go process.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", options.Name, err)
	}

	return process, nil
}

// Name is the name given at the start.
func (p *Process) Name() string { return p.options.Name }

// Pid is the operating system's process id.
func (p *Process) Pid() int { return p.command.Process.Pid }

// Exited is closed once the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Err tells how the process ended: nil while it runs and after exit status 0.
func (p *Process) Err() error {
	select {
	case <-p.exited:
		return p.err
	default:
		return nil
	}
}

// Kill sends SIGKILL and does not wait; a process already gone is no error.
func (p *Process) Kill() error { return p.signal(syscall.SIGKILL) }

// Stop sends the polite signal and waits; after the grace period, or when ctx
// ends first, it kills and returns ErrForced. A process already gone is no error.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.signal(p.options.StopSignal); err != nil {
		return err
	}

	grace := time.NewTimer(p.options.Grace)
	defer grace.Stop()
	select {
	case <-p.exited:
		return nil
	case <-grace.C:
	case <-ctx.Done():
	}

	if err := p.Kill(); err != nil {
		return err
	}
	<-p.exited

	return fmt.Errorf("stop %s: %w", p.options.Name, ErrForced)
}

// WaitReady calls probe until it succeeds. It gives up with ErrExited when the
// process ends, and with the last fault of the probe when ctx ends.
func (p *Process) WaitReady(ctx context.Context, probe func(ctx context.Context) error) error {
	const interval = 20 * time.Millisecond

	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		fault := probe(ctx)
		if fault == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s %w: %w", p.options.Name, ErrExited, errors.Join(p.err, fault))
		case <-ctx.Done():
			return fmt.Errorf("wait until %s is ready: %w", p.options.Name, errors.Join(ctx.Err(), fault))
		case <-ticker.C:
		}
	}
}

func (p *Process) signal(signal syscall.Signal) error {
	err := p.command.Process.Signal(signal)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to %s: %w", signal, p.options.Name, err)
	}

	return nil
}

// run holds its thread for the child's whole life: the parent-death signal is
// sent when the thread that started the child ends, not only the process.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	err := p.command.Start()
	started <- err
	if err != nil {
		return
	}

	p.err = p.command.Wait()
	close(p.exited)
}
