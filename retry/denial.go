package retry

import "github.com/tullemesh/tulle"

// A Denial says why a call is not repeated, in one word for records and logs. It is
// one of the constants, and empty where a repeat is granted.
type Denial string

// The denials. Of several reasons the first that is found is told; the token is asked
// for last, so that DeniedBudget means that nothing else was in the way.
const (
	// DeniedEnded: the call's context has ended, before the pause or in it.
	DeniedEnded Denial = "ended"
	// DeniedOutcome: what the attempt came to is not repeated, by the outcome
	// table or by Config.Condition.
	DeniedOutcome Denial = "outcome"
	// DeniedBody: what was read of the request's body is gone.
	DeniedBody Denial = "body"
	// DeniedPushback: the server does not want the call again.
	DeniedPushback Denial = "pushback"
	// DeniedNowhere: it would have to go to another endpoint, and there is none.
	DeniedNowhere Denial = "nowhere"
	// DeniedSent: the call may have reached somebody, and repeats of such ones
	// were ruled out for it.
	DeniedSent Denial = "sent"
	// DeniedNoHint: the endpoint asks for less and does not say until when.
	DeniedNoHint Denial = "no_hint"
	// DeniedUnsafe: the call is neither safe nor keyed.
	DeniedUnsafe Denial = "unsafe"
	// DeniedUnhealthy: it timed out, and the other endpoints do no better.
	DeniedUnhealthy Denial = "unhealthy"
	// DeniedAttempts: all attempts, or moves, that a call may make are made.
	DeniedAttempts Denial = "attempts"
	// DeniedLongHint: the server names a time beyond Config.MaxRetryAfter.
	DeniedLongHint Denial = "long_hint"
	// DeniedTime: too little time is left.
	DeniedTime Denial = "time"
	// DeniedBudget: the budget is empty.
	DeniedBudget Denial = "budget"
	// DeniedUnknown: it timed out, too little is known of the other endpoints,
	// and another such call was repeated within the last second.
	DeniedUnknown Denial = "unknown"
	// DeniedDark: Config.Dark, else it would have been repeated.
	DeniedDark Denial = "dark"
	// DeniedBreaker: the breaker would let no attempt through.
	DeniedBreaker Denial = "breaker"
)

// deny is the Plan of no repeat.
func deny(why Denial) Plan { return Plan{Denied: why} }

// reason decides whether the outcome is one to repeat for this call.
func (r *Retrier) reason(call *tulle.Call) Plan {
	repeat, pool := r.repetition(call), call.Facts()
	switch {
	case repeat == tulle.NoRepeat || repeat > tulle.RepeatElsewhere:
		return deny(DeniedOutcome)
	case call.Spent:
		return deny(DeniedBody)
	case call.Last.Final:
		return deny(DeniedPushback)
	case repeat == tulle.RepeatElsewhere && pool.Untried == 0:
		return deny(DeniedNowhere)
	case repeat == tulle.RepeatElsewhere:
		return Plan{moved: true}
	case repeat == tulle.RepeatMoved:
		// Where else is not known, or there is nowhere else: then the same
		// endpoint is asked again, after a pause and for a token.
		if call.AnyBarred() && pool.Usable == 0 {
			return deny(DeniedNowhere)
		}
		return Plan{moved: pool.Untried > 0}
	case call.UnsentOnly:
		return deny(DeniedSent)
	}
	return reachedReason(repeat, call, pool.Others)
}

// reachedReason is reason for a call that may have reached somebody.
func reachedReason(repeat tulle.Repetition, call *tulle.Call, others tulle.Health) Plan {
	switch {
	case repeat == tulle.RepeatHinted && !call.Last.Hinted:
		return deny(DeniedNoHint)
	case repeat == tulle.RepeatHinted:
		return Plan{}
	case !call.Safe:
		return deny(DeniedUnsafe)
	case repeat != tulle.RepeatHealthy:
		return Plan{}
	}
	switch others {
	case tulle.Healthy:
		return Plan{}
	case tulle.Unknown:
		return Plan{blind: true}
	case tulle.Alone:
		return deny(DeniedNowhere)
	}
	return deny(DeniedUnhealthy)
}
