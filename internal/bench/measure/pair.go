package measure

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// A Result is a subject beside the baseline. Ratios and differences are those
// of neighbouring blocks.
type Result struct {
	Name  string `json:"name"`
	Calls int    `json:"calls"`

	CPU      Spread  `json:"cpu_ns"`       // for a call, of this process and the helpers
	CPURatio Spread  `json:"cpu_ratio"`    //
	CPUAdded Spread  `json:"cpu_added_ns"` //
	Helpers  float64 `json:"helpers_ns"`   // the helpers' part, over all blocks

	P50      float64 `json:"p50_ns"` // over all calls, 0 unless they were timed
	P99      float64 `json:"p99_ns"`
	P50Ratio Spread  `json:"p50_ratio"`
	P50Added Spread  `json:"p50_added_ns"`
	P99Ratio float64 `json:"p99_ratio"` // of the two figures over all calls
	P99Added float64 `json:"p99_added_ns"`
}

// Paired measures the peers against base: each block of a peer stands between
// two of base, and the order of the peers changes from round to round. The
// first Result is that of base against itself, each block against the next: it
// shows the noise.
func Paired(base Subject, peers []Subject, load Load) ([]Result, error) {
	p := &pairing{load: load, subjects: append([]Subject{base}, peers...)}
	p.tracks = make([]track, len(p.subjects))
	for i := range p.subjects {
		calls, err := p.subjects[i].warm(load)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.subjects[i].Name, err)
		}
		p.tracks[i].calls = calls
	}
	for range load.Rounds {
		if err := p.round(); err != nil {
			return nil, err
		}
	}
	results := make([]Result, len(p.subjects))
	for i := range results {
		results[i] = p.result(i)
	}
	return results, nil
}

// pairing is a run of Paired.
type pairing struct {
	load     Load
	subjects []Subject // the baseline first
	tracks   []track
}

// track is what was seen of one subject.
type track struct {
	calls                  int // in a block
	total                  int
	cpu, cpuRatio, cpuMore []float64
	p50Ratio, p50More      []float64
	helpers                time.Duration
	times, beside          []time.Duration // of its calls, and of the baseline's beside it
}

// round runs each peer once.
func (p *pairing) round() error {
	before, err := p.run(0)
	if err != nil {
		return err
	}
	order := rand.Perm(len(p.subjects) - 1)
	if len(order) == 0 {
		order = []int{-1}
	}
	for _, i := range order {
		var b *Block
		if i >= 0 {
			if b, err = p.run(i + 1); err != nil {
				return err
			}
		}
		after, err := p.run(0)
		if err != nil {
			return err
		}
		if b != nil {
			p.tracks[i+1].add(b, before, after)
		}
		p.tracks[0].add(after, before, before)
		before = after
	}
	return nil
}

// run is one block of subject i.
func (p *pairing) run(i int) (*Block, error) {
	b, err := p.subjects[i].Run(p.load, p.tracks[i].calls)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.subjects[i].Name, err)
	}
	return &b, nil
}

// add takes in a block and the blocks of the baseline on its two sides.
func (t *track) add(b, before, after *Block) {
	own := b.perCall(b.CPU + b.Helpers)
	base := (before.perCall(before.CPU) + after.perCall(after.CPU)) / 2
	t.total += b.Calls
	t.helpers += b.Helpers
	t.cpu = append(t.cpu, own)
	t.cpuRatio = append(t.cpuRatio, own/base)
	t.cpuMore = append(t.cpuMore, own-base)
	if len(b.Times) == 0 {
		return
	}
	t.times = append(t.times, b.Times...)
	t.beside = append(t.beside, before.Times...)
	mid := float64(Quantile(b.Times, 0.5))
	ref := float64(Quantile(before.Times, 0.5)+Quantile(after.Times, 0.5)) / 2
	t.p50Ratio = append(t.p50Ratio, mid/ref)
	t.p50More = append(t.p50More, mid-ref)
}

// result sums up what was seen of subject i.
func (p *pairing) result(i int) Result {
	t := &p.tracks[i]
	r := Result{
		Name:     p.subjects[i].Name,
		Calls:    t.total,
		CPU:      SpreadOf(t.cpu),
		CPURatio: SpreadOf(t.cpuRatio),
		CPUAdded: SpreadOf(t.cpuMore),
		Helpers:  float64(t.helpers) / float64(max(t.total, 1)),
	}
	if len(t.times) == 0 {
		return r
	}
	r.P50, r.P99 = float64(Quantile(t.times, 0.5)), float64(Quantile(t.times, 0.99))
	r.P50Ratio, r.P50Added = SpreadOf(t.p50Ratio), SpreadOf(t.p50More)
	base := float64(Quantile(t.beside, 0.99))
	r.P99Ratio, r.P99Added = r.P99/base, r.P99-base
	return r
}
