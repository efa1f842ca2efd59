package devstack

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	minRestartDelay = 50 * time.Millisecond
	maxRestartDelay = 2 * time.Second
)

// ErrRunning means that a child is started which already runs.
var ErrRunning = errors.New("already running")

// SupervisorOptions describe a child that is kept alive.
type SupervisorOptions struct {
	// Launch starts the child and returns once it is ready. It is called again
	// after each death; ending ctx must end it, child included.
	Launch func(ctx context.Context) (*Process, error)
	// Restart starts a child again that ended unasked. Without it a dead child
	// stays dead until Start is called.
	Restart bool
	// OnExit is told each time the child ends unasked or a restart fails.
	OnExit func(name string, err error)
	// OnRestart is told each time the child is ready again.
	OnRestart func(name string, pid int)
}

// Supervisor runs one child at a time and starts it again when it dies. Its
// methods may be called from several goroutines.
type Supervisor struct {
	options SupervisorOptions

	// turn is held over a whole Start or Stop, state only for an access.
	turn   sync.Mutex
	cancel context.CancelFunc
	done   chan struct{}

	state   sync.Mutex
	process *Process
}

// Supervise launches the child and returns once it is ready; ctx bounds the
// start only.
func Supervise(ctx context.Context, options SupervisorOptions) (*Supervisor, error) {
	supervisor := newSupervisor(options)
	if err := supervisor.Start(ctx); err != nil {
		return nil, err
	}

	return supervisor, nil
}

func newSupervisor(options SupervisorOptions) *Supervisor { return &Supervisor{options: options} }

// Start launches the child again after Stop, or after a death that was not
// followed by a restart. A running child is ErrRunning.
func (s *Supervisor) Start(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()

	if s.done != nil {
		if s.options.Restart || !isOver(s.Process()) {
			return ErrRunning
		}
		s.endWatch()
	}

	process, err := s.options.Launch(ctx)
	if err != nil {
		return err
	}
	s.set(process)

	// The watch outlives the start, so it keeps ctx's values but not its end.
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel, s.done = cancel, make(chan struct{})
	go s.watch(watching, process, s.done)

	return nil
}

// Process is the child at this moment; during a restart it is the one that died.
func (s *Supervisor) Process() *Process {
	s.state.Lock()
	defer s.state.Unlock()

	return s.process
}

// Kill sends SIGKILL to the child, which then comes back if Restart is set.
func (s *Supervisor) Kill() error { return s.Process().Kill() }

// Stop ends the supervision, then the child as Process.Stop does. Stopping what
// does not run is no error.
func (s *Supervisor) Stop(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()

	if s.done == nil {
		return nil
	}
	s.endWatch()

	return s.Process().Stop(ctx)
}

func (s *Supervisor) endWatch() {
	s.cancel()
	<-s.done
	s.done = nil
}

func (s *Supervisor) watch(ctx context.Context, process *Process, done chan<- struct{}) {
	defer close(done)

	for process != nil {
		select {
		case <-ctx.Done():
			return
		case <-process.Exited():
		}
		if ctx.Err() != nil {
			return
		}
		s.tellExit(process.Name(), process.Err())
		if !s.options.Restart {
			return
		}
		process = s.relaunch(ctx, process.Name())
	}
}

// relaunch tries until the child is ready; nil means that the supervision ended.
func (s *Supervisor) relaunch(ctx context.Context, name string) *Process {
	for delay := minRestartDelay; pause(ctx, delay) == nil; delay = min(delay+delay, maxRestartDelay) {
		process, err := s.options.Launch(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.tellExit(name, err)
			}

			continue
		}
		s.set(process)
		if s.options.OnRestart != nil {
			s.options.OnRestart(name, process.Pid())
		}

		return process
	}

	return nil
}

func (s *Supervisor) set(process *Process) {
	s.state.Lock()
	defer s.state.Unlock()

	s.process = process
}

func (s *Supervisor) tellExit(name string, err error) {
	if s.options.OnExit != nil {
		s.options.OnExit(name, err)
	}
}

func isOver(process *Process) bool {
	select {
	case <-process.Exited():
		return true
	default:
		return false
	}
}

func pause(ctx context.Context, delay time.Duration) error {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("wait: %w", ctx.Err())
	case <-timer.C:
		return nil
	}
}
