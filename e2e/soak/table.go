package soak

import (
	"fmt"
	"slices"
	"strings"
)

// Moment of a rollout.
type Moment string

// The moments in which faults strike.
const (
	// Release : what is released is itself the fault, or the fault is there before.
	Release Moment = "release"
	// Waiting : a confirm-rollout gate is closed.
	Waiting Moment = "waiting"
	// Starting : the canary's pods come up.
	Starting Moment = "starting"
	// AtWeight : the canary has a share of the traffic.
	AtWeight Moment = "at weight"
	// Paused : a person has paused the rollout at a weight, and resumes it after the fault.
	Paused Moment = "paused"
	// Frozen : a check has failed under onFailure Freeze; after the fault a person resumes a good version and aborts a bad one.
	Frozen Moment = "frozen"
	// WaitingPromotion : a confirm-promotion gate is closed.
	WaitingPromotion Moment = "waiting for promotion"
	// Promoting : the primary is brought to the new revision.
	Promoting Moment = "promoting"
	// Finalising : the traffic goes back to the promoted primary in steps.
	Finalising Moment = "finalising"
	// Baking : the version is promoted and goes on being judged.
	Baking Moment = "baking"
	// RollingBack : traffic goes back to the primary; the gateway is slow then, so that it lasts.
	RollingBack Moment = "rolling back"
)

// Moments lists them in order.
func Moments() []Moment {
	return []Moment{Release, Waiting, Starting, AtWeight, Paused, Frozen, WaitingPromotion, Promoting, Finalising, Baking, RollingBack}
}

// goodOnly tells whether only a good version gets that far.
func (m Moment) goodOnly() bool {
	return m == WaitingPromotion || m == Promoting || m == Finalising || m == Baking
}

// running are the moments of a rollout, from its gate to its end.
func running() []Moment { return Moments()[1:] }

// trial are the moments in which the canary has traffic and its version is not decided.
func trial() []Moment { return []Moment{AtWeight, Paused, Frozen, WaitingPromotion} }

// Outcome of a rollout that a fault met.
type Outcome string

// The outcomes.
const (
	// AsWithout : a good version is promoted, a bad one taken back.
	AsWithout Outcome = "as without"
	// TakenBack : the version on trial is taken back, whatever it is.
	TakenBack Outcome = "taken back"
	// Cancelled : the rollout is cancelled, the promoted version stays.
	Cancelled Outcome = "cancelled"
	// Superseded : the newer version is released instead, or after it.
	Superseded Outcome = "superseded"
	// Restored : the target serves what was promoted, then a new Canary begins with it.
	Restored Outcome = "restored"
)

// Row is a fault and what must come of it.
type Row struct {
	// Name of the fault.
	Name string
	// What happens.
	What string
	// Outcomes by moment. One of them must come; a moment that is missing is not tried.
	Outcomes map[Moment][]Outcome
	// Users is what users may see of it, apart from answers that a bad version gives itself; "" is nothing at all.
	Users string
	// GoodOnly : only good versions are released into it.
	GoodOnly bool
	// Missable : while something else keeps Siskin from looking, the fault may pass unseen: as without, then.
	Missable bool
	// Everybody : it meets all apps at once, and comes on top of another fault.
	Everybody bool
}

func in(o Outcome, moments ...Moment) map[Moment][]Outcome {
	out := make(map[Moment][]Outcome, len(Moments()))
	for _, m := range moments {
		out[m] = []Outcome{o}
	}
	return out
}

// except is the moments without some of them.
func except(moments []Moment, without ...Moment) []Moment {
	return slices.DeleteFunc(slices.Clone(moments), func(m Moment) bool { return slices.Contains(without, m) })
}

// and joins; where both name a moment, either outcome may come.
func and(maps ...map[Moment][]Outcome) map[Moment][]Outcome {
	out := make(map[Moment][]Outcome, len(Moments()))
	for _, m := range maps {
		for k, v := range m {
			out[k] = append(out[k], v...)
		}
	}
	return out
}

// Rows is the table of faults. The docs show it (docs/testing.md), and the soak test is held against it.
func Rows() []Row {
	return slices.Concat(podRows(), peopleRows(), gatewayRows(), clusterRows())
}

func podRows() []Row {
	canaryGone := and(in(AsWithout, Starting, Finalising), in(TakenBack, trial()...))
	return []Row{
		{
			Name: "canary-crash-loops", What: "the new version exits 4 s after each start", Outcomes: in(TakenBack, Release),
			Users: "503 and cut connections for the canary's share, until its traffic is taken away",
		},
		{
			Name: "canary-never-ready", What: "the new version never becomes ready; the deadline is 8 s", Outcomes: in(TakenBack, Release),
		},
		{
			Name: "primary-never-ready", What: "the new version becomes ready as the canary and never as the primary; the deadline is 12 s",
			Outcomes: in(TakenBack, Promoting),
		},
		{
			Name: "canary-killed", What: "all processes of the canary get SIGKILL", Outcomes: canaryGone,
			Users: "503 and cut connections for the canary's share, until its traffic is taken away", Missable: true,
		},
		{
			Name: "canary-pods-lost", What: "the node loses all pods of the canary", Outcomes: canaryGone,
			Users: "503 and cut connections for the canary's share, until its traffic is taken away", Missable: true,
		},
		{
			Name: "primary-pod-killed", What: "one of the primary's two pods gets SIGKILL",
			Outcomes: and(in(AsWithout, except(running(), Waiting)...), in(TakenBack, Baking)),
			Users:    "the requests that were in it are cut",
		},
		{
			Name: "primary-pods-lost", What: "the node loses all pods of the primary",
			Outcomes: and(in(TakenBack, Baking), in(AsWithout, except(running(), Waiting, Promoting)...)),
			Users:    "503 and cut connections for the primary's share, until pods are back",
		},
		{
			Name: "primary-turns-bad", What: "from now on every pod of the promoted version answers half of the requests with 500", Outcomes: in(TakenBack, Baking),
		},
	}
}

func peopleRows() []Row {
	always := in(AsWithout, running()...)
	undecided := slices.Concat(trial(), []Moment{Waiting})
	return []Row{
		{Name: "new-revision", What: "git gets another version, a good one", Outcomes: in(Superseded, running()...)},
		{
			Name: "return", What: "git goes back to the version promoted before",
			Outcomes: and(in(Cancelled, undecided...), in(Cancelled, Starting, Promoting), in(Superseded, Finalising, Baking), in(TakenBack, RollingBack)),
		},
		{Name: "edit-service", What: "spec.service.headers is edited", Outcomes: always},
		{Name: "edit-steps", What: "spec.analysis.stepWeights is edited", Outcomes: always},
		{Name: "edit-interval", What: "spec.analysis.interval is edited", Outcomes: always},
		{Name: "suspend", What: "spec.suspend is true for 4 s", Outcomes: always},
		{Name: "abort", What: "a person asks for `abort`", Outcomes: in(TakenBack, except(running(), RollingBack)...)},
		{Name: "rollback", What: "a person asks for `rollback`", Outcomes: and(in(TakenBack, undecided...), in(TakenBack, Starting, Baking))},
		{
			Name: "promote", What: "a person asks for `promote`, and what the moment waits for does not come", Outcomes: in(AsWithout, undecided...), GoodOnly: true,
		},
		{
			Name: "nobody-decides", What: "nobody resumes or decides until the deadline of 6 s", Outcomes: in(TakenBack, Paused, Frozen),
		},
		{Name: "rollback-hook", What: "a rollback webhook says yes", Outcomes: in(TakenBack, except(running(), Promoting, RollingBack)...)},
		{
			Name: "delete-canary", What: "the Canary is deleted and, when it is gone, created again", GoodOnly: true,
			Outcomes: in(Restored, except(running(), RollingBack)...),
		},
		{Name: "target-recreated", What: "the target is deleted and created again with the same content", Outcomes: always},
		{Name: "target-scaled", What: "somebody scales the target to 3", Outcomes: always},
		{Name: "service-edited", What: "somebody takes the role out of the apex Service's selector", Outcomes: always},
		{Name: "gate-late", What: "a confirm-traffic-increase gate is closed for 4 s", Outcomes: in(AsWithout, AtWeight)},
		{
			Name: "gate-closed", What: "the gate that comes next stays closed past its deadline of 6 s", Outcomes: in(TakenBack, Waiting, AtWeight, WaitingPromotion),
		},
	}
}

func gatewayRows() []Row {
	edits := except(running(), Waiting, Baking, RollingBack) // after which the route is edited
	return []Row{
		{
			Name: "gateway-late", What: "the gateway takes 1 to 4 s for each edit of the route from here on",
			Outcomes: and(in(AsWithout, edits...), in(AsWithout, Release, RollingBack)),
		},
		{
			Name: "gateway-unprogrammed", What: "from here on the gateway accepts at once, but acts 1 to 3 s later",
			Outcomes: and(in(AsWithout, edits...), in(AsWithout, Release)),
		},
		{
			Name: "gateway-refuses", What: "the gateway refuses every edit of the route until the rollback begins; the deadline is 6 s",
			Outcomes: in(TakenBack, Release),
		},
		{
			Name: "gateway-refuses-briefly", What: "the gateway refuses every edit of the route for 4 s", Outcomes: in(AsWithout, AtWeight, Promoting, Finalising),
		},
		{Name: "gateway-partial", What: "for 4 s the gateway falls back to the route before", Outcomes: in(AsWithout, AtWeight, Promoting, Finalising)},
		{
			Name: "route-reverted", What: "another writer puts the weights of the moment back, one to three times", Outcomes: in(AsWithout, edits...),
		},
	}
}

func clusterRows() []Row {
	always := in(AsWithout, running()...)
	return []Row{
		{Name: "controller-killed", What: "Siskin gets SIGKILL", Outcomes: always, Everybody: true},
		{Name: "leader-lost", What: "the pod of the leading Siskin is lost; the other one takes over when the lease has run out", Outcomes: always, Everybody: true},
		{Name: "api-restarted", What: "the API server gets SIGKILL and is started again", Outcomes: always, Everybody: true},
		{Name: "api-slow", What: "for 8 s everything that the API server answers Siskin comes 100 to 300 ms late", Outcomes: always, Everybody: true},
		{Name: "api-refusing", What: "for 3 to 12 s the API server refuses Siskin's connections", Outcomes: always, Everybody: true},
		{
			Name: "writers", What: "for 5 s others write to the Canary, its target, its clones and its route, ten times a second", Outcomes: always, Everybody: true,
		},
		{Name: "prometheus-down", What: "Prometheus is down for 6 s", Outcomes: always, Everybody: true},
		{Name: "gateway-down", What: "the gateway refuses connections for 2 s", Outcomes: always, Everybody: true, Users: "refused connections while it is down"},
	}
}

// Markdown is the table as the docs show it.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| fault | what happens |")
	for _, m := range Moments() {
		fmt.Fprintf(&b, " %s |", m)
	}
	b.WriteString(" users may see |\n|---|---|" + strings.Repeat("---|", len(Moments())+1) + "\n")
	for _, r := range Rows() {
		what := r.What
		switch {
		case r.Everybody:
			what += "; meets all apps, on top of another fault"
		case r.GoodOnly:
			what += "; good versions only"
		}
		fmt.Fprintf(&b, "| `%s` | %s |", r.Name, what)
		for _, m := range Moments() {
			var cell []string
			for _, o := range r.Outcomes[m] {
				cell = append(cell, string(o))
			}
			if r.Missable && slices.Contains(r.Outcomes[m], TakenBack) {
				cell = append(cell, "as without, if Siskin could not look")
			}
			fmt.Fprintf(&b, " %s |", strings.Join(cell, ", or "))
		}
		users := r.Users
		if users == "" {
			users = "nothing"
		}
		fmt.Fprintf(&b, " %s |\n", users)
	}
	return b.String()
}
