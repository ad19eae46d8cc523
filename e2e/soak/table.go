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
	// Promoting : the primary is brought to the new revision.
	Promoting Moment = "promoting"
	// RollingBack : traffic goes back to the primary; the gateway is slow then, so that it lasts.
	RollingBack Moment = "rolling back"
)

// Moments lists them in order.
func Moments() []Moment {
	return []Moment{Release, Waiting, Starting, AtWeight, Promoting, RollingBack}
}

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
	// Restored : the target serves what git says, then a new Canary begins with it.
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
	return []Row{
		{
			Name: "canary-crash-loops", What: "the new version exits 4 s after each start", Outcomes: in(TakenBack, Release),
			Users: "503 and cut connections for the canary's share, until its traffic is taken away",
		},
		{
			Name: "canary-never-ready", What: "the new version never becomes ready; the deadline is 8 s", Outcomes: in(TakenBack, Release),
		},
		{
			Name: "canary-killed", What: "all processes of the canary get SIGKILL", Outcomes: and(in(AsWithout, Starting), in(TakenBack, AtWeight)),
			Users: "503 and cut connections for the canary's share, until its traffic is taken away", Missable: true,
		},
		{
			Name: "canary-pods-lost", What: "the node loses all pods of the canary", Outcomes: and(in(AsWithout, Starting), in(TakenBack, AtWeight)),
			Users: "503 and cut connections for the canary's share, until its traffic is taken away", Missable: true,
		},
		{
			Name: "primary-pod-killed", What: "one of the primary's two pods gets SIGKILL", Outcomes: in(AsWithout, Starting, AtWeight, Promoting, RollingBack),
			Users: "the requests that were in it are cut",
		},
		{
			Name: "primary-pods-lost", What: "the node loses all pods of the primary", Outcomes: in(AsWithout, Starting, AtWeight, RollingBack),
			Users: "503 and cut connections for the primary's share, until pods are back",
		},
	}
}

func peopleRows() []Row {
	return []Row{
		{
			Name: "new-revision", What: "git gets another version, a good one", Outcomes: in(Superseded, Waiting, Starting, AtWeight, Promoting, RollingBack),
		},
		{
			Name: "return", What: "git goes back to the promoted version",
			Outcomes: and(in(Cancelled, Waiting, Starting, AtWeight, Promoting), in(TakenBack, RollingBack)),
		},
		{Name: "edit-service", What: "spec.service.headers is edited", Outcomes: in(AsWithout, Waiting, Starting, AtWeight, Promoting, RollingBack)},
		{Name: "edit-steps", What: "spec.analysis.stepWeights is edited", Outcomes: in(AsWithout, Waiting, Starting, AtWeight, Promoting, RollingBack)},
		{Name: "edit-interval", What: "spec.analysis.interval is edited", Outcomes: in(AsWithout, Waiting, Starting, AtWeight, Promoting, RollingBack)},
		{
			Name: "suspend", What: "spec.suspend is true for 4 s", Outcomes: in(AsWithout, Waiting, Starting, AtWeight, Promoting, RollingBack),
		},
		{Name: "abort", What: "a person asks for abort", Outcomes: in(TakenBack, Waiting, Starting, AtWeight, Promoting)},
		{Name: "rollback-hook", What: "a rollback webhook says yes", Outcomes: in(TakenBack, Waiting, Starting, AtWeight)},
		{
			Name: "delete-canary", What: "the Canary is deleted and, when it is gone, created again", GoodOnly: true,
			Outcomes: in(Restored, Waiting, Starting, AtWeight, Promoting),
		},
		{
			Name: "target-recreated", What: "the target is deleted and created again with the same content",
			Outcomes: in(AsWithout, Waiting, Starting, AtWeight, Promoting, RollingBack),
		},
		{
			Name: "target-scaled", What: "somebody scales the target to 3", Outcomes: in(AsWithout, Waiting, Starting, AtWeight, Promoting, RollingBack),
		},
		{
			Name: "service-edited", What: "somebody takes the role out of the apex Service's selector",
			Outcomes: in(AsWithout, Waiting, Starting, AtWeight, Promoting, RollingBack),
		},
		{Name: "gate-late", What: "a confirm-traffic-increase gate is closed for 4 s", Outcomes: in(AsWithout, AtWeight)},
		{
			Name: "gate-closed", What: "a confirm-traffic-increase gate stays closed past its deadline of 4 s", Outcomes: in(TakenBack, AtWeight),
		},
	}
}

func gatewayRows() []Row {
	return []Row{
		{
			Name: "gateway-late", What: "the gateway takes 1 to 4 s for each edit of the route from here on",
			Outcomes: in(AsWithout, Release, Starting, AtWeight, Promoting, RollingBack),
		},
		{
			Name: "gateway-unprogrammed", What: "from here on the gateway accepts at once, but acts 1 to 3 s later",
			Outcomes: in(AsWithout, Release, Starting, AtWeight, Promoting),
		},
		{
			Name: "gateway-refuses", What: "the gateway refuses every edit of the route until the rollback begins; the deadline is 6 s",
			Outcomes: in(TakenBack, Release),
		},
		{Name: "gateway-refuses-briefly", What: "the gateway refuses every edit of the route for 4 s", Outcomes: in(AsWithout, AtWeight, Promoting)},
		{Name: "gateway-partial", What: "for 4 s the gateway falls back to the route before", Outcomes: in(AsWithout, AtWeight, Promoting)},
		{
			Name: "route-reverted", What: "another writer puts the weights of the moment back, one to three times",
			Outcomes: in(AsWithout, Starting, AtWeight, Promoting),
		},
	}
}

func clusterRows() []Row {
	always := in(AsWithout, Waiting, Starting, AtWeight, Promoting, RollingBack)
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
