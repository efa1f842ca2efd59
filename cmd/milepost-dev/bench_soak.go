package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// soakFigures say how the resident memory of `milepost serve` went.
type soakFigures struct {
	Deliveries int `json:"deliveries"`
	// The memory after a tenth of the deliveries, when caches and pools are full, and
	// the least and the most from then on, in MiB.
	AfterTenth float64 `json:"rss_after_tenth_mib"`
	Least      float64 `json:"rss_least_mib"`
	Most       float64 `json:"rss_most_mib"`
	AtEnd      float64 `json:"rss_at_end_mib"`
	// ChangePercent is how far the last is from the first.
	ChangePercent float64 `json:"rss_change_percent"`
	Seconds       float64 `json:"seconds"`
}

const (
	soakSteps   = 50
	bytesPerMiB = 1 << 20
	percent     = 100
)

// soak posts events step by step, waits until each step is processed, and looks at the memory.
func (b *bench) soak(ctx context.Context) (soakFigures, error) {
	measured := soakFigures{Deliveries: b.settings.soak}
	started := time.Now()
	step := max(1, b.settings.soak/soakSteps)
	for posted := 0; posted < b.settings.soak; {
		count := min(step, b.settings.soak-posted)
		if err := b.postAll(ctx, count, func(time.Time, []time.Duration) {}); err != nil {
			return measured, err
		}
		posted += count
		memory, err := residentMiB(b.Milepost.Process().Pid())
		if err != nil {
			return measured, err
		}
		if posted <= b.settings.soak/10 {
			measured.AfterTenth, measured.Least, measured.Most = memory, memory, memory
		}
		measured.Least, measured.Most, measured.AtEnd = min(measured.Least, memory), max(measured.Most, memory), memory
		b.progress.print(fmt.Sprintf("%d of %d deliveries, %.1f MiB", posted, b.settings.soak, memory))
	}
	measured.ChangePercent = percent * (measured.AtEnd/measured.AfterTenth - 1)
	measured.Seconds = time.Since(started).Seconds()
	return measured, nil
}

// residentMiB reads the resident memory of a process from /proc; Linux only.
func residentMiB(pid int) (float64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("read resident memory (this needs Linux): %w", err)
	}
	fields := bytes.Fields(content)
	if len(fields) < 2 {
		return 0, errors.New("resident memory cannot be read from /proc")
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read resident memory: %w", err)
	}
	return float64(pages) * float64(os.Getpagesize()) / bytesPerMiB, nil
}
