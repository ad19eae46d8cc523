package soak

import (
	"context"
	"fmt"
	"slices"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/gateway"
)

// enough is how long a moment is held for a fault that should have ended it: it has passed unseen.
const enough = 15 * time.Second

// prepare sets up what must be there before the release: the fault itself, and what holds the moment open until it has struck.
func (t *turn) prepare(release *fixtures.App) {
	t.hold()
	switch t.row.Name {
	case "canary-crash-loops":
		release.Env = map[string]string{"CRASH_AFTER_START": crashAfter}
		t.excuse(func(ctx context.Context) string {
			if c, err := t.Canary(ctx, t.NS, t.App.Name); err != nil || !t.is(TakenBack, c) {
				return "it has not been taken back"
			}
			return ""
		})
	case "canary-never-ready":
		release.Env = map[string]string{"NOT_READY": "true"}
		t.patch(`{"spec":{"progressDeadlineSeconds":8}}`)
	case "primary-never-ready":
		release.Env = map[string]string{"NOT_READY_AS": "-primary-"}
		t.patch(`{"spec":{"progressDeadlineSeconds":12}}`)
	case "gateway-refuses":
		t.patch(`{"spec":{"progressDeadlineSeconds":6}}`)
		t.fault(gateway.Fault{Kind: gateway.Refused})
	case "gate-closed", "nobody-decides":
		t.patch(`{"spec":{"progressDeadlineSeconds":20,"analysis":{"gateDeadlineSeconds":6}}}`) // the first counts where a controller begins anew
	default:
		if t.moment == Release {
			t.act()
		}
	}
}

// hold keeps the rollout from leaving the moment before the fault has struck, however long the API server is away: by gates, by an
// edit that only a person undoes, or by steps that take long.
func (t *turn) hold() {
	switch t.moment {
	case Waiting:
		t.answer(rolloutGate, fixtures.No)
	case Starting:
		t.answer(increaseGate, fixtures.No)
	case AtWeight, Paused, WaitingPromotion:
		t.answer(promotionGate, fixtures.No)
	case Frozen:
		t.patch(`{"spec":{"analysis":{"onFailure":"Freeze"}}}`)
		if t.good {
			t.answer(checkHook, fixtures.No)
		}
	case Finalising:
		t.patch(`{"spec":{"analysis":{"stepWeightPromotion":2}}}`)
	case Baking:
		t.patch(fmt.Sprintf(`{"spec":{"analysis":{"bake":{"duration":%q}}}}`, t.bake()))
	case RollingBack:
		t.fault(gateway.Fault{Kind: gateway.Late, Delay: 2 * time.Second})
	case Release, Promoting: // which nothing can hold
	}
}

// bake is short where it has to end by itself, and else longer than anything that delays the fault.
func (t *turn) bake() string {
	if slices.Contains(t.outcomes(), AsWithout) {
		return "5s"
	}
	return "60s"
}

// outcomes are what the table says of this turn.
func (t *turn) outcomes() []Outcome { return t.row.Outcomes[t.moment] }

// in tells whether the rollout of this turn is in its moment.
func (t *turn) in(c *siskinv1.Canary) bool {
	st := c.Status
	if !t.begun(c) {
		return false
	}
	switch t.moment {
	case Waiting:
		return st.Phase == siskinv1.PhaseWaiting
	case Starting:
		return st.Phase == siskinv1.PhaseProgressing && st.CanaryWeight == 0
	case AtWeight:
		return atWeight(c)
	case Paused:
		return atWeight(c) && paused(c)
	case Frozen:
		return st.Phase == siskinv1.PhaseFrozen
	case WaitingPromotion:
		return st.Phase == siskinv1.PhaseWaitingPromotion
	case Promoting:
		return st.Phase == siskinv1.PhasePromoting
	case Finalising:
		return st.Phase == siskinv1.PhaseFinalising
	case Baking:
		return st.Phase == siskinv1.PhaseBaking
	case RollingBack:
		return st.Phase == siskinv1.PhaseRollingBack
	case Release:
	}
	return false
}

// begun tells that the rollout of this turn has.
func (t *turn) begun(c *siskinv1.Canary) bool {
	return c.Status.Rollout != nil && c.Status.Rollout.ID > t.rollout
}

// atWeight tells that the canary has traffic and its version is not decided. Where the promotion is held it may have passed all steps.
func atWeight(c *siskinv1.Canary) bool {
	st := c.Status
	return (st.Phase == siskinv1.PhaseProgressing || st.Phase == siskinv1.PhaseWaitingPromotion) && st.CanaryWeight > 0
}

func paused(c *siskinv1.Canary) bool { return c.Status.Step != nil && c.Status.Step.Paused }

// over tells that the rollout of this turn has ended.
func (t *turn) over(c *siskinv1.Canary) bool {
	if !t.begun(c) {
		return false
	}
	switch c.Status.Phase {
	case siskinv1.PhaseSucceeded, siskinv1.PhaseFailed, siskinv1.PhaseCancelled, siskinv1.PhaseInitialized:
		return true
	}
	return false
}

// strike waits for the moment of the fault and lets it strike. It returns false if the moment did not come, or passed before the fault
// could be done.
func (t *turn) strike() bool {
	t.Helper()
	came := false
	err := poll(t.Context(), limit, func(ctx context.Context) string {
		c, err := t.Canary(ctx, t.NS, t.App.Name)
		if err != nil {
			return err.Error()
		}
		if came = t.in(c); came {
			return ""
		}
		if t.over(c) {
			return ""
		}
		t.pause(c)
		return fmt.Sprintf("neither the moment nor the end has come: %s: %s", c.Status.Phase, c.Status.Message)
	})
	if err != nil {
		t.h.Print(t)
		t.Fatalf("%s: %s: %v", t.row.Name, t.moment, err)
	}
	if came {
		if t.moment == AtWeight { // not always just after the step
			pause(t.Context(), time.Duration(t.rnd.Int64N(int64(time.Second))))
		}
		t.struck, t.asked = time.Now(), time.Time{}
		t.act()
	}
	if !came || t.refusal != "" {
		t.miss()
		return false
	}
	return true
}

// pause asks for the pause of the moment as soon as there is something to pause.
func (t *turn) pause(c *siskinv1.Canary) {
	if t.moment == Paused && t.asked.IsZero() && t.begun(c) && atWeight(c) {
		t.ask("pause")
	}
}

// miss gives up on a fault whose moment is gone: the rollout ends without. A request that is refused although nothing kept it from being in
// time is no such thing.
func (t *turn) miss() {
	if t.refusal != "" && t.good && !t.couldNotLook() {
		t.Errorf("%s: %s: refused: %s", t.row.Name, t.moment, t.refusal)
	}
	t.struck = time.Time{}
	t.open()
}

// allowed are the outcomes with which the turn may end.
func (t *turn) allowed() []Outcome {
	out := slices.Clone(t.outcomes())
	switch {
	case t.struck.IsZero() && t.moment != Release:
		out = append(out, AsWithout) // what was prepared may have led to the table's outcome all the same
	case t.row.Missable:
		out = append(out, AsWithout)
	case t.row.Name == "return" && !t.good: // it may be taken back for what it is first
		out = append(out, TakenBack)
	}
	return out
}

// assist does what the people of the moment do after the fault, unless the fault is that they do not, or must end the rollout without
// them.
func (t *turn) assist(c *siskinv1.Canary) {
	outcomes := t.outcomes()
	if t.row.Name == "promote" || t.row.Name == "nobody-decides" || t.moment == Release {
		return
	}
	goesOn := slices.Contains(outcomes, AsWithout) || slices.Contains(outcomes, Superseded) || slices.Contains(outcomes, Restored)
	unseen := t.row.Missable && time.Since(t.struck) > enough
	switch {
	case t.opened:
		t.decide(c)
	case goesOn, unseen:
		t.open()
	}
}

// open lets the moment go.
func (t *turn) open() {
	if t.opened {
		return
	}
	t.opened = true
	t.receive()
	switch {
	case t.moment == Finalising:
		t.patch(`{"spec":{"analysis":{"stepWeightPromotion":null}}}`)
	case t.moment == Baking && slices.Contains(t.outcomes(), Superseded): // whose own bake is not worth waiting for
		t.patch(`{"spec":{"analysis":{"bake":null}}}`)
	}
}

// decide ends a pause and a freeze, again if it has to: a check may have failed for what the fault did. Who aborts names the revision, so that
// none is meant that came meanwhile.
func (t *turn) decide(c *siskinv1.Canary) {
	if time.Since(t.asked) < 5*time.Second {
		return
	}
	switch {
	case t.moment == Paused && paused(c):
		t.ask("resume")
	case t.moment != Frozen || c.Status.Phase != siskinv1.PhaseFrozen:
	case t.good:
		t.ask("resume")
	case c.Status.Canary != nil:
		t.ask("abort/" + c.Status.Canary.Revision)
	}
}

// ask writes a request and returns it.
func (t *turn) ask(verb string) string {
	t.Helper()
	t.asked = time.Now()
	t.token++
	request := fmt.Sprintf("%s@%d", verb, t.token)
	t.patch(fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, siskinv1.RequestAnnotation, request))
	return request
}

// demand writes a request and waits for the answer. A refusal is noted.
func (t *turn) demand(verb string) {
	t.Helper()
	request := t.ask(verb)
	err := poll(t.Context(), limit, func(ctx context.Context) string {
		c, err := t.Canary(ctx, t.NS, t.App.Name)
		switch {
		case err != nil:
			return err.Error()
		case c.Status.Request == nil || c.Status.Request.Value != request:
			return "not answered: " + c.Status.Message
		case !c.Status.Request.Accepted:
			t.refusal = c.Status.Request.Message
		}
		return ""
	})
	if err != nil {
		t.h.Print(t)
		t.Fatalf("%s: %v", request, err)
	}
}
