package soak

import (
	"slices"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Every moment of the table is dealt, with a version that gets there.
func TestEveryMomentIsDealt(t *testing.T) {
	seen := map[Moment]bool{}
	for _, deals := range (&world{seed: 7, length: time.Hour}).deal() {
		for _, d := range deals {
			seen[d.moment] = true
			if len(d.row.Outcomes[d.moment]) == 0 {
				t.Errorf("%s is dealt %s, where the table is empty", d.row.Name, d.moment)
			}
			if !d.good && (d.row.GoodOnly || slices.Contains([]Moment{WaitingPromotion, Promoting, Finalising, Baking}, d.moment)) {
				t.Errorf("%s: a bad version does not come to the moment %s", d.row.Name, d.moment)
			}
			if d.good && d.moment == RollingBack {
				t.Errorf("%s: a good version is not rolled back", d.row.Name)
			}
		}
	}
	for _, m := range Moments() {
		if !seen[m] {
			t.Errorf("%s is never dealt", m)
		}
	}
	for _, deals := range (&world{seed: 7, only: []Moment{Baking, Frozen}}).deal() {
		for _, d := range deals {
			if d.moment != Baking && d.moment != Frozen {
				t.Errorf("%s is dealt, and nobody asked for it", d.moment)
			}
		}
	}
}

// status of a Canary in its nth rollout.
func status(rollout int64, phase siskinv1.Phase, weight int32, paused bool) *siskinv1.Canary {
	c := &siskinv1.Canary{}
	c.Status.Phase, c.Status.CanaryWeight = phase, weight
	c.Status.Rollout, c.Status.Step = &siskinv1.RolloutStatus{ID: rollout}, &siskinv1.StepStatus{Paused: paused}
	return c
}

func TestAMomentIsTold(t *testing.T) {
	tests := map[string]struct {
		canary *siskinv1.Canary
		want   []Moment
	}{
		"of the rollout before":  {status(1, siskinv1.PhaseFrozen, 20, false), nil},
		"at the gate":            {status(2, siskinv1.PhaseWaiting, 0, false), []Moment{Waiting}},
		"the canary starts":      {status(2, siskinv1.PhaseProgressing, 0, false), []Moment{Starting}},
		"a step":                 {status(2, siskinv1.PhaseProgressing, 20, false), []Moment{AtWeight}},
		"a step, paused":         {status(2, siskinv1.PhaseProgressing, 20, true), []Moment{AtWeight, Paused}},
		"before the promotion":   {status(2, siskinv1.PhaseWaitingPromotion, 50, false), []Moment{AtWeight, WaitingPromotion}},
		"frozen":                 {status(2, siskinv1.PhaseFrozen, 20, false), []Moment{Frozen}},
		"promoting":              {status(2, siskinv1.PhasePromoting, 50, false), []Moment{Promoting}},
		"the traffic goes back":  {status(2, siskinv1.PhaseFinalising, 48, false), []Moment{Finalising}},
		"judged when promoted":   {status(2, siskinv1.PhaseBaking, 0, false), []Moment{Baking}},
		"taken back":             {status(2, siskinv1.PhaseRollingBack, 0, false), []Moment{RollingBack}},
		"ended":                  {status(2, siskinv1.PhaseSucceeded, 0, false), nil},
		"a Canary of no rollout": {&siskinv1.Canary{}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []Moment
			for _, m := range Moments() {
				if (&turn{deal: deal{moment: m}, rollout: 1}).in(tt.canary) {
					got = append(got, m)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("it is %v, not %v", got, tt.want)
			}
		})
	}
}

// What may come of a turn is what the table says, and what is told beside it.
func TestWhatATurnMayEndAs(t *testing.T) {
	struck := time.Now()
	for name, tt := range map[string]struct {
		row    string
		moment Moment
		good   bool
		struck time.Time
		want   []Outcome
	}{
		"struck":                       {"abort", Baking, true, struck, []Outcome{TakenBack}},
		"missed":                       {"abort", Promoting, true, time.Time{}, []Outcome{TakenBack, AsWithout}},
		"unseen, perhaps":              {"canary-killed", Frozen, true, struck, []Outcome{TakenBack, AsWithout}},
		"a bad version that git left":  {"return", AtWeight, false, struck, []Outcome{Cancelled, TakenBack}},
		"a good version that git left": {"return", AtWeight, true, struck, []Outcome{Cancelled}},
		"the release is the fault":     {"canary-never-ready", Release, true, time.Time{}, []Outcome{TakenBack}},
	} {
		t.Run(name, func(t *testing.T) {
			i := slices.IndexFunc(Rows(), func(r Row) bool { return r.Name == tt.row })
			got := (&turn{deal: deal{row: Rows()[i], moment: tt.moment, good: tt.good}, struck: tt.struck}).allowed()
			if !slices.Equal(got, tt.want) {
				t.Errorf("it may end as %v, not %v", got, tt.want)
			}
		})
	}
}
