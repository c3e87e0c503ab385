/* Signs during business hours only, and never while changes are frozen. */
#include "signet_rule.h"

#define MINUTES_A_DAY 1440
#define SECONDS_A_DAY 86400

/* A text that is being read. */
typedef struct { const char *at; size_t left; } cursor;

typedef struct {
    int64_t offset; /* minutes east of UTC */
    uint8_t days;   /* bit 0 is Sunday */
    uint32_t from, until; /* minutes of the local day; `until` is the first that is outside */
    signet_texts freezes;
    signet_text override_role; /* empty: nobody is exempt */
} settings;

static bool is_leap(uint32_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

static uint32_t days_of_month(uint32_t year, uint32_t month) {
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Days since 1970-01-01 of a date of the Gregorian calendar. The year is taken to begin in March, so that the leap day
 * is its last; 719468 is the day 0000-03-01 of that count. */
static int64_t day_number(uint32_t year, uint32_t month, uint32_t day) {
    uint32_t y = month <= 2 ? year - 1 : year;
    uint32_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return (int64_t)y * 365 + y / 4 - y / 100 + y / 400 + day_of_year - 719468;
}

/* So many digits, exactly. */
static bool digits(cursor *in, size_t count, uint32_t *number) {
    if (in->left < count) return false;
    *number = 0;
    for (size_t i = 0; i < count; i++) {
        char c = in->at[i];
        if (c < '0' || c > '9') return false;
        *number = *number * 10 + (uint32_t)(c - '0');
    }
    in->at += count;
    in->left -= count;
    return true;
}

static bool literal(cursor *in, char wanted) {
    if (in->left == 0 || *in->at != wanted) return false;
    in->at++;
    in->left--;
    return true;
}

/* YYYY-MM-DD, a day that there is. */
static bool date(cursor *in, int64_t *day) {
    uint32_t y, m, d;
    bool formed = digits(in, 4, &y) && literal(in, '-') && digits(in, 2, &m) && literal(in, '-') && digits(in, 2, &d);
    if (!formed || y < 1970 || m < 1 || m > 12 || d < 1 || d > days_of_month(y, m)) return false;
    *day = day_number(y, m, d);
    return true;
}

/* YYYY-MM-DD, or two of them with `..` between: first and last day. */
static bool freeze(signet_text text, int64_t *first, int64_t *last) {
    cursor in = {text.at, text.length};
    if (!date(&in, first)) return false;
    *last = *first;
    if (in.left == 0) return true;
    return literal(&in, '.') && literal(&in, '.') && date(&in, last) && in.left == 0 && *first <= *last;
}

/* HH:MM from 00:00 to 24:00, in minutes. */
static bool time_of_day(signet_setting setting, uint32_t *minutes) {
    if (!setting.is_some || setting.value.kind != SIGNET_TEXT) return false;
    cursor in = {setting.value.text.at, setting.value.text.length};
    uint32_t h, m;
    if (!digits(&in, 2, &h) || !literal(&in, ':') || !digits(&in, 2, &m) || in.left != 0 || m > 59) return false;
    *minutes = h * 60 + m;
    return *minutes <= MINUTES_A_DAY;
}

static bool weekdays(signet_setting setting, uint8_t *days) {
    static const char names[] = "sunmontuewedthufrisat";
    if (!setting.is_some || setting.value.kind != SIGNET_TEXTS || setting.value.texts.length == 0) return false;
    *days = 0;
    for (size_t i = 0; i < setting.value.texts.length; i++) {
        int day = 0;
        while (day < 7 && !signet_same(setting.value.texts.at[i], (signet_text){names + 3 * day, 3})) day++;
        if (day == 7) return false;
        *days |= (uint8_t)(1 << day);
    }
    return true;
}

/* NULL, or what is wrong with the settings. */
static const char *read_settings(settings *s) {
    signet_setting offset = signet_config(SIGNET_LITERAL("utc_offset_minutes"));
    if (!offset.is_some || offset.value.kind != SIGNET_INT || offset.value.integer < -14 * 60 || offset.value.integer > 14 * 60)
        return "`utc_offset_minutes` must be a whole number from -840 to 840";
    s->offset = offset.value.integer;
    if (!weekdays(signet_config(SIGNET_LITERAL("days")), &s->days))
        return "`days` must be a list of mon, tue, wed, thu, fri, sat and sun, with at least one of them";
    if (!time_of_day(signet_config(SIGNET_LITERAL("from")), &s->from) ||
        !time_of_day(signet_config(SIGNET_LITERAL("until")), &s->until) || s->from >= s->until)
        return "`from` and `until` must be times such as 09:00, the second after the first, at most 24:00";
    signet_setting freezes = signet_config(SIGNET_LITERAL("freezes"));
    s->freezes = (signet_texts){0, 0};
    if (freezes.is_some) {
        int64_t first, last;
        if (freezes.value.kind != SIGNET_TEXTS) return "`freezes` must be a list of dates";
        s->freezes = freezes.value.texts;
        for (size_t i = 0; i < s->freezes.length; i++)
            if (!freeze(s->freezes.at[i], &first, &last))
                return "each of `freezes` must be a date such as 2027-12-24, or two such as 2027-12-24..2028-01-02";
    }
    signet_setting role = signet_config(SIGNET_LITERAL("override_role"));
    s->override_role = (signet_text){"", 0};
    if (role.is_some) {
        if (role.value.kind != SIGNET_TEXT || role.value.text.length == 0) return "`override_role` must be a role's name";
        s->override_role = role.value.text;
    }
    return NULL;
}

static bool is_exempt(const settings *s, const signet_request *request) {
    const signet_value *roles = signet_find(request->caller.attributes, SIGNET_LITERAL("roles"));
    if (s->override_role.length == 0 || roles == NULL) return false;
    if (roles->kind == SIGNET_TEXT) return signet_same(roles->text, s->override_role);
    if (roles->kind != SIGNET_TEXTS) return false;
    for (size_t i = 0; i < roles->texts.length; i++)
        if (signet_same(roles->texts.at[i], s->override_role)) return true;
    return false;
}

/* NULL to go on. */
static signet_answer *judge(const settings *s, uint64_t time) {
    /* A week more keeps the first hours of 1970 west of Greenwich above zero. */
    uint64_t local = time + 7 * SECONDS_A_DAY + (uint64_t)(s->offset * 60);
    int64_t today = (int64_t)(local / SECONDS_A_DAY) - 7;
    for (size_t i = 0; i < s->freezes.length; i++) {
        int64_t first, last;
        if (!freeze(s->freezes.at[i], &first, &last) || (first <= today && today <= last))
            return signet_refuse(SIGNET_LITERAL("change_freeze"), SIGNET_LITERAL("changes are frozen today"));
    }
    /* 1970-01-01 was a Thursday. */
    if (!(s->days >> (local / SECONDS_A_DAY + 4) % 7 & 1))
        return signet_refuse(SIGNET_LITERAL("outside_days"), SIGNET_LITERAL("nothing is signed on this day of the week"));
    uint32_t minute = (uint32_t)(local % SECONDS_A_DAY / 60);
    if (minute < s->from || minute >= s->until)
        return signet_refuse(SIGNET_LITERAL("outside_hours"), SIGNET_LITERAL("nothing is signed at this time of the day"));
    return NULL;
}

signet_answer *evaluate(const signet_request *request) {
    settings s;
    const char *problem = read_settings(&s);
    if (problem != NULL) {
        size_t length = 0;
        while (problem[length] != 0) length++;
        return signet_misconfigured((signet_text){problem, length});
    }
    /* Beyond the year 9999 no freeze can be written. */
    if (request->time >= 253402300800u)
        return signet_refuse(SIGNET_LITERAL("outside_days"), SIGNET_LITERAL("the request's time is beyond the calendar"));
    signet_answer *refusal = judge(&s, request->time);
    if (refusal == NULL) return signet_allow();
    if (!is_exempt(&s, request)) return refusal;
    signet_log(SIGNET_WARN, SIGNET_LITERAL("signed outside the hours or in a freeze, for a caller with the override role"));
    return signet_allow();
}
